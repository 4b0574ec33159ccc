"""Training clips cut out of sources: which frames they are, and their pixels."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from ..errors import InputError
from ..handoff import resize_frames
from ..media.video_reader import probe_video, read_frames
from ..sizes import check_frame_count
from .data import Skipped, Source

FPS_TOLERANCE = 0.98  # a source may have this share of the chosen rate: 23.976 for 24


@dataclass(frozen=True)
class Span:
    """One training clip: the decoded frames of a source by number, 4n+1 of them; a picture has one."""

    source: Source
    frames: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.source.path.name}[{self.frames[0]}..{self.frames[-1]}]"


def find_spans(
    sources: Iterable[Source], *, size: tuple[int, int], frames: int = 49, fps: float = 8
) -> tuple[list[Span], list[Skipped]]:
    """All training clips of `frames` (4n+1) frames at `fps` that the sources hold, end to end, and what is left out.

    size (height, width) is the least that a source must have. Raises InputError for a bad frame count or rate.
    """
    check_frame_count(frames)
    if not 0 < fps <= 1000:
        raise InputError(f"fps is {fps}; it must be over 0 and at most 1000")
    spans, skipped = [], []
    for source in sources:
        try:
            spans += cut_spans(source, size, frames, fps)
        except ValueError as error:  # PyAV's own errors are ValueErrors too
            skipped.append(Skipped.from_error(str(source.path), error))
    return spans, skipped


def cut_spans(source: Source, size: tuple[int, int], frames: int, fps: float) -> list[Span]:
    """The clips of one file: frames nearest in time to every 1/fps seconds, none of them twice.

    Raises InputError when it has none.
    """
    info = probe_video(source.path)
    if info.height < size[0] or info.width < size[1]:
        raise InputError(f"its {info.height}x{info.width} pixels are fewer than the {size[0]}x{size[1]} of training")
    if info.frames == 1:
        return [Span(source, (0,))]
    rate = (info.frames - 1) / info.times[-1] if info.times[-1] > 0 else float(info.fps)
    if rate < FPS_TOLERANCE * fps:
        raise InputError(f"its {rate:.4g} fps are fewer than the {fps:g} of training")
    runs = split_at_repeats(resample_frames(info.times, fps))
    spans = [Span(source, tuple(run[i : i + frames])) for run in runs for i in range(0, len(run) - frames + 1, frames)]
    if not spans:
        between = " without one shown twice" if len(runs) > 1 else ""
        raise InputError(f"it has {max(map(len, runs))} frames at {fps:g} fps{between}; a training clip has {frames}")
    return spans


def split_at_repeats(numbers: Sequence[int]) -> list[list[int]]:
    """Ascending frame numbers in runs without a repeated one: a source slower than its average rate has some."""
    runs: list[list[int]] = [[]]
    for number in numbers:
        if runs[-1] and runs[-1][-1] == number:
            runs.append([])
        runs[-1].append(number)
    return runs


def resample_frames(times: Sequence[float], fps: float) -> list[int]:
    """The numbers of the frames nearest to 0, 1/fps, 2/fps, ... seconds, as far as the times (in seconds) go."""
    half = 0.5 * times[-1] / (len(times) - 1)  # of a frame's duration: rounded times must not cost the last frame
    instants = (i / fps for i in range(int((times[-1] + half) * fps) + 1))
    return [_find_nearest(times, instant) for instant in instants if instant < times[-1] + half]


def _find_nearest(times: Sequence[float], instant: float) -> int:
    right = min(bisect_left(times, instant), len(times) - 1)
    return right - 1 if right and instant - times[right - 1] <= times[right] - instant else right


def read_span(span: Span, size: tuple[int, int]) -> Tensor:
    """The clip as [3, F, H, W] in -1..1, scaled to cover size (height, width) and center-cropped to it.

    Raises InputError for a file that cannot be decoded that far.
    """
    frames = read_frames(span.source.path, span.frames).permute(3, 0, 1, 2)[None] * 2 - 1
    scale = max(wanted / side for wanted, side in zip(size, frames.shape[-2:], strict=True))
    covering = tuple(max(w, round(side * scale)) for w, side in zip(size, frames.shape[-2:], strict=True))
    frames = resize_frames(frames, covering)[0]
    return frames[(..., *center_crop(covering, size))].contiguous()


def center_crop(size: tuple[int, int], crop: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of the middle `crop` of a `size`, each (height, width)."""
    starts = [(side - wanted) // 2 for side, wanted in zip(size, crop, strict=True)]
    return tuple(slice(start, start + wanted) for start, wanted in zip(starts, crop, strict=True))
