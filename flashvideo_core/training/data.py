"""The user's own data set: which video and picture files it has, and what each of them shows.

A data set is a folder (captions in .txt files beside the clips) or a CSV with the columns video and caption. What
cannot be used comes back as `Skipped` with its reason, so that nothing is left out in silence.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError

VIDEOS = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".gif"}
PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}


@dataclass(frozen=True)
class Source:
    """A video or picture file and what it shows."""

    path: Path
    caption: str


@dataclass(frozen=True)
class Skipped:
    """Something in the data set that is not used, and why."""

    what: str
    reason: str

    @classmethod
    def from_error(cls, what: str, error: ValueError) -> "Skipped":
        """What the error says of it, on one line and without its name a second time."""
        return cls(what, " ".join(str(error).removeprefix(f"{what}: ").split()))

    def __str__(self) -> str:
        return f"skipped {self.what}: {self.reason}"


def find_sources(data: str | Path) -> tuple[list[Source], list[Skipped]]:
    """The captioned files of a folder (and its subfolders) or a CSV, in a fixed order, and what is left out.

    Raises InputError for a path that is neither, and for a CSV without its two columns.
    """
    data = Path(data)
    if data.is_dir():
        return _list_folder(data)
    if data.suffix.lower() == ".csv" and data.is_file():
        return _read_csv(data)
    raise InputError(f"{data} is neither a folder of clips nor a .csv with the columns video and caption")


def _list_folder(folder: Path) -> tuple[list[Source], list[Skipped]]:
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


def _read_csv(table: Path) -> tuple[list[Source], list[Skipped]]:
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
