"""What a command line names as sources -> clips to refine: a draft, a video, a picture, or the pictures of a sequence.

A folder is a draft where it holds draft.safetensors or clip.json; in any other, each video, each sequence of numbered
pictures and each single picture is a clip, in natural order. A pattern, shot_%04d.png or shot_*.png, names the pictures
of one clip.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..media.file_names import PICTURES, VIDEOS, group_pictures, name_group, natural_key

NUMBERED = re.compile(r"%0?\d*d")  # as FFmpeg writes the number of a picture


@dataclass(frozen=True)
class SourceFiles:
    """The files of one clip: one, or several pictures in their order. name: of the clip's folder."""

    name: str
    paths: tuple[Path, ...]

    @property
    def path(self) -> Path:
        return self.paths[0]

    @property
    def is_draft(self) -> bool:
        return self.path.suffix == ".safetensors"

    @property
    def is_sequence(self) -> bool:
        return len(self.paths) > 1

    @property
    def file(self) -> str:
        """The file's name; for pictures the pattern that names them."""
        if not self.is_sequence:
            return self.path.name
        first, last = self.path.name, self.paths[-1].name
        begin = len(re.match(r".*?(?=\d+\D*$)", self.path.stem)[0])
        end = re.search(r"\D*$", self.path.stem)[0] + self.path.suffix
        return f"{first[:begin]}*{end}" if last.startswith(first[:begin]) and last.endswith(end) else first


def find_clips(named: Path) -> list[SourceFiles]:
    """The clips of a source. Raises InputError for a folder or pattern without any."""
    if named.is_dir():
        draft = find_source(named)
        if draft.is_file() or (named / "clip.json").is_file():
            return [SourceFiles(named.resolve().name, (draft,))]
        return list_folder(named)
    if not named.exists() and ("*" in named.name or NUMBERED.search(named.name)):
        return [match_pattern(named)]
    name = named.resolve().parent.name if named.suffix == ".safetensors" else named.stem
    return [SourceFiles(name, (named,))]


def is_collection(clips: list[SourceFiles]) -> bool:
    """Whether a folder is one of clips, each of which is refined into a folder of its own: not where it is a draft, or
    the pictures of one sequence."""
    return len(clips) > 1 or not (clips[0].is_draft or clips[0].is_sequence)


def find_source(path: Path) -> Path:
    """The file itself, or the draft in a folder."""
    return path / "draft.safetensors" if path.is_dir() else path


def list_folder(folder: Path) -> list[SourceFiles]:
    files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    groups = [[path] for path in files if path.suffix.lower() in VIDEOS]
    groups += group_pictures(path for path in files if path.suffix.lower() in PICTURES)
    if not groups:
        raise InputError(f"{folder} holds no draft, no video and no picture")
    groups.sort(key=lambda group: natural_key(group[0]))
    return [SourceFiles(group[0].stem if len(group) == 1 else name_group(group), tuple(group)) for group in groups]


def match_pattern(pattern: Path) -> SourceFiles:
    """The pictures that a pattern names, in natural order."""
    parts = re.split(r"(%0?\d*d|\*)", pattern.name)
    kinds = {"*": ".*"}
    text = "".join(kinds.get(part, r"\d+") if i % 2 else re.escape(part) for i, part in enumerate(parts))
    folder = pattern.parent
    found = [path for path in folder.iterdir() if re.fullmatch(text, path.name)] if folder.is_dir() else []
    if not found:
        raise InputError(f"{pattern}: no file has such a name")
    if others := [path.name for path in found if path.suffix.lower() not in PICTURES]:
        raise InputError(f"{pattern}: names {min(others)}, which is no picture; a pattern names the pictures of a clip")
    found.sort(key=natural_key)
    return SourceFiles(name_group(found), tuple(found))
