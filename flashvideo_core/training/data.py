"""The user's own clips: videos and pictures with captions, cut into training clips.

A data set is a folder (captions in .txt files beside the clips) or a CSV with the columns video and caption. What
cannot be used comes back as `Skipped` with its reason, so that nothing is left out in silence.
"""

import csv
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..errors import InputError
from ..handoff import resize
from ..media.video_reader import probe_video, read_frames
from ..sizes import check_frame_count

VIDEOS = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".gif"}
PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
FPS_SLACK = 0.98  # a source may have a rate this much below the chosen one: 23.976 for 24


@dataclass(frozen=True)
class Source:
    """A video or picture file and what it shows."""

    path: Path
    caption: str


@dataclass(frozen=True)
class Span:
    """One training clip: the decoded frames of a source by number, 4n+1 of them; a picture has one."""

    source: Source
    frames: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.source.path.name}[{self.frames[0]}..{self.frames[-1]}]"


@dataclass(frozen=True)
class Skipped:
    """Something in the data set that is not used, and why."""

    what: str
    reason: str

    def __str__(self) -> str:
        return f"skipped {self.what}: {self.reason}"


def find_sources(data: str | Path) -> tuple[list[Source], list[Skipped]]:
    """The captioned files of a folder (and its subfolders) or a CSV, in a fixed order, and what is left out.

    Raises ValueError for a path that is neither.
    """
    data = Path(data)
    if data.is_dir():
        return _in_folder(data)
    if data.suffix.lower() == ".csv" and data.is_file():
        return _in_csv(data)
    raise InputError(f"{data} is neither a folder of clips nor a .csv with the columns video and caption")


def _in_folder(folder: Path) -> tuple[list[Source], list[Skipped]]:
    sources, skipped, used = [], [], set()
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    for path in (path for path in files if path.suffix.lower() in VIDEOS | PICTURES):
        beside = path.with_suffix(".txt")
        used |= {path, beside}
        if not beside.is_file():
            skipped.append(Skipped(str(path), f"no caption: there is no {beside.name} beside it"))
        elif caption := " ".join(beside.read_text("utf-8", errors="replace").split()):
            sources.append(Source(path, caption))
        else:
            skipped.append(Skipped(str(path), f"its caption {beside.name} is empty"))
    others = [path for path in files if path not in used]
    return sources, skipped + [
        Skipped(str(path), "neither a clip by its name nor the caption of one") for path in others
    ]


def _in_csv(table: Path) -> tuple[list[Source], list[Skipped]]:
    with table.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.DictReader(file)
        if missing := {"video", "caption"} - set(reader.fieldnames or ()):
            raise InputError(f"{table} has no column {' and no column '.join(sorted(missing))}")
        rows = [(reader.line_num, row["video"] or "", " ".join((row["caption"] or "").split())) for row in reader]
    sources, skipped = [], []
    for line, video, caption in rows:
        path = table.parent / video
        if not video or not path.is_file():
            skipped.append(Skipped(f"{table} line {line}", f"there is no file {video!r}"))
        elif not caption:
            skipped.append(Skipped(f"{table} line {line}", f"{video} has no caption"))
        else:
            sources.append(Source(path, caption))
    return sources, skipped


def find_spans(
    sources: Iterable[Source], *, size: tuple[int, int], frames: int = 49, fps: float = 8
) -> tuple[list[Span], list[Skipped]]:
    """All training clips of `frames` (4n+1) frames at `fps` that the sources hold, end to end, and what is left out.

    size (height, width) is the least that a source must have. Raises ValueError for a bad frame count or rate.
    """
    check_frame_count(frames)
    if not 0 < fps <= 1000:
        raise InputError(f"fps is {fps}; it must be over 0 and at most 1000")
    spans, skipped = [], []
    for source in sources:
        try:
            spans += spans_of(source, size, frames, fps)
        except ValueError as error:
            skipped.append(refused(str(source.path), error))
    return spans, skipped


def refused(what: str, error: ValueError) -> Skipped:
    """A Skipped of what the error says, without the name in it a second time."""
    return Skipped(what, " ".join(str(error).removeprefix(f"{what}: ").split()))


def spans_of(source: Source, size: tuple[int, int], frames: int, fps: float) -> list[Span]:
    """The clips of one file: frames nearest in time to every 1/fps seconds. Raises ValueError when it has none."""
    info = probe_video(source.path)
    if info.height < size[0] or info.width < size[1]:
        raise InputError(f"its {info.height}x{info.width} pixels are fewer than the {size[0]}x{size[1]} of training")
    if info.frames == 1:
        return [Span(source, (0,))]
    rate = (info.frames - 1) / info.times[-1] if info.times[-1] > 0 else float(info.fps)
    if rate < FPS_SLACK * fps:
        raise InputError(f"its {rate:.4g} fps are fewer than the {fps:g} of training")
    numbers = resampled(info.times, fps)
    if len(numbers) < frames:
        raise InputError(f"it has {len(numbers)} frames at {fps:g} fps; a training clip has {frames}")
    return [Span(source, tuple(numbers[i : i + frames])) for i in range(0, len(numbers) - frames + 1, frames)]


def resampled(times: tuple[float, ...], fps: float) -> list[int]:
    """The numbers of the frames nearest to 0, 1/fps, 2/fps, ... seconds, as far as the times go."""
    half = 0.5 * times[-1] / (len(times) - 1)  # of a frame's duration: rounded times must not cost the last frame
    instants = (i / fps for i in range(int((times[-1] + half) * fps) + 1))
    return [_nearest(times, instant) for instant in instants if instant < times[-1] + half]


def _nearest(times: tuple[float, ...], instant: float) -> int:
    right = min(bisect_left(times, instant), len(times) - 1)
    return right - 1 if right and instant - times[right - 1] <= times[right] - instant else right


def read_span(span: Span, size: tuple[int, int]) -> Tensor:
    """The clip as [3, F, H, W] in -1..1, scaled to cover size (height, width) and cut at its middle.

    Raises ValueError for a file that cannot be decoded that far.
    """
    frames = read_frames(span.source.path, span.frames).permute(3, 0, 1, 2)[None] * 2 - 1
    scale = max(wanted / side for wanted, side in zip(size, frames.shape[-2:], strict=True))
    covering = tuple(max(w, round(side * scale)) for w, side in zip(size, frames.shape[-2:], strict=True))
    frames = resize(frames, covering)[0]
    return frames[(..., *middle(covering, size))].contiguous()


def middle(size: tuple[int, int], part: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of the middle `part` of a `size`, each (height, width)."""
    starts = [(side - wanted) // 2 for side, wanted in zip(size, part, strict=True)]
    return tuple(slice(start, start + wanted) for start, wanted in zip(starts, part, strict=True))
