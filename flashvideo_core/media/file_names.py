"""What the files of a folder are by their names: videos, and pictures that may be the frames of one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

VIDEOS = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".wmv", ".flv"}
VIDEOS |= {".mxf", ".ogv", ".3gp", ".y4m", ".gif", ".apng"}
PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"}
LAST_NUMBER = re.compile(r"(.*?)(\d+)(\D*)")


def natural_key(path: Path) -> list[tuple[int, str]]:
    """Sorts names by the numbers in them: shot2 before shot10."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts] + [(-1, path.name)]


def picture_number(path: Path) -> int | None:
    """The last number in a picture's name; None where there is none."""
    match = LAST_NUMBER.fullmatch(path.stem)
    return int(match[2]) if match else None


def group_pictures(paths: Iterable[Path]) -> list[list[Path]]:
    """Pictures whose names differ in their last number alone, in its order; one without a number is a group alone."""
    groups: dict[tuple[str, str, str, str], list[Path]] = {}
    for path in paths:
        match = LAST_NUMBER.fullmatch(path.stem)
        around = (match[1], match[3], "") if match else (path.stem, "", "alone")
        groups.setdefault((*around, path.suffix), []).append(path)
    return [sorted(group, key=lambda path: (picture_number(path) or 0, path.name)) for group in groups.values()]


def name_group(paths: list[Path]) -> str:
    """What the names of numbered pictures have in common, "shot" of shot_0001.png; the folder's where that is
    nothing."""
    match = LAST_NUMBER.fullmatch(paths[0].stem)
    common = (match[1] + match[3] if match else paths[0].stem).strip(" ._-")
    return common or paths[0].resolve().parent.name
