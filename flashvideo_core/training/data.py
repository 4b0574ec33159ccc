"""The user's own data set: which video and picture files it has, and what each of them shows.

A data set is a folder (captions in .txt files beside the clips) or a CSV with the columns video and caption. What
cannot be used comes back as `Skipped` with its reason, so that nothing is left out in silence.
"""

import csv
import io
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
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
        used |= {path, path.with_suffix(".txt")}
        try:
            sources.append(Source(path, _read_caption(path.with_suffix(".txt"))))
        except InputError as error:
            skipped.append(Skipped(str(path), str(error)))
    others = [path for path in files if path not in used]
    return sources, skipped + [
        Skipped(str(path), "neither a clip by its name nor the caption of one") for path in others
    ]


def _read_caption(path: Path) -> str:
    """One line. Raises InputError that says why there is none."""
    if not path.is_file():
        raise InputError(f"no caption: there is no {path.name} beside it")
    try:
        caption = " ".join(_decode_text(path.read_bytes()).split())
    except UnicodeError:
        raise InputError(f"its caption {path.name} is neither UTF-8 nor marked UTF-16") from None
    if not caption:
        raise InputError(f"its caption {path.name} is empty")
    return caption


def _decode_text(data: bytes) -> str:
    """UTF-8, or UTF-16 where a byte-order mark says so, as Windows writes it. Raises UnicodeError for anything else."""
    return data.decode("utf-16" if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig")


def _read_csv(table: Path) -> tuple[list[Source], list[Skipped]]:
    sources, skipped = [], []
    for line, video, caption in _read_rows(table):
        path = table.parent / video
        if not video or not path.is_file():
            skipped.append(Skipped(f"{table} line {line}", f"there is no file {video!r}"))
        elif not caption:
            skipped.append(Skipped(f"{table} line {line}", f"{video} has no caption"))
        else:
            sources.append(Source(path, caption))
    return sources, skipped


def _read_rows(table: Path) -> list[tuple[int, str, str]]:
    """(line, video, caption) of each row."""
    try:
        reader = csv.DictReader(io.StringIO(_decode_text(table.read_bytes()), newline=""))
        if missing := {"video", "caption"} - set(reader.fieldnames or ()):
            raise InputError(f"{table} has no column {' and no column '.join(sorted(missing))}")
        return [(reader.line_num, row["video"] or "", " ".join((row["caption"] or "").split())) for row in reader]
    except UnicodeError:
        raise InputError(f"{table} is neither UTF-8 nor marked UTF-16") from None
    except csv.Error as error:
        raise InputError(f"{table} cannot be read as CSV, at line {reader.line_num + 1}: {error}") from None
