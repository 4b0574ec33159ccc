"""What a folder of VBench clips is to hold, with every clip's seed: FOLDER.vbench.json, beside the folder.

Not in it: VBench takes the ending of the first name in the folder for that of all videos.
"""

import json
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from .clip_lock import wait_for_lock
from .outputs import write_json
from .record_schema import is_text, is_whole
from .vbench_suite import SuiteClip


@dataclass(frozen=True)
class Manifest:
    """info: the suite's file. dimensions: that were asked for, in one command or several. clips: by file name."""

    info: str
    dimensions: tuple[str, ...]
    clips: dict[str, SuiteClip]


def manifest_path(folder: Path) -> Path:
    folder = folder.resolve()
    return folder.with_name(f"{folder.name}.vbench.json")


def read_manifest(folder: Path) -> Manifest:
    """Raises InputError where there is none."""
    path = manifest_path(folder)
    try:
        values = json.loads(path.read_text("utf-8"))
        clips = [SuiteClip(**clip) for clip in values["clips"]]
        usable = all(is_text(clip.prompt) and is_text(clip.shown) and is_whole(clip.seed) for clip in clips)
        found = Manifest(values["info"], tuple(values["dimensions"]), {clip.name: clip for clip in clips})
    except FileNotFoundError:
        raise InputError(f"{path} is not there; vbench generate writes it, and what it lists is looked for") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        usable = False
    if not usable:
        raise InputError(f"{path} is damaged; the same vbench generate writes it anew")
    return found


def write_manifest(folder: Path, info: Path, dimensions: Iterable[str], clips: Iterable[SuiteClip]) -> None:
    """Adds to what an earlier command with other dimensions has listed. Several processes may do so at once."""
    path = manifest_path(folder)
    with wait_for_lock(path.with_name(f".{path.name}.lock")):
        earlier = read_manifest(folder) if path.exists() else Manifest("", (), {})
        listed = earlier.clips | {clip.name: clip for clip in clips}
        new = Manifest(str(info.resolve()), tuple(sorted({*earlier.dimensions, *dimensions})), listed)
        if new != earlier:
            values = [vars(clip) for clip in new.clips.values()]
            write_json(path, {"info": new.info, "dimensions": new.dimensions, "clips": values})


def check_names(folder: Path, names: Iterable[str]) -> None:
    """Raises InputError for names that the disk of this folder, which is there, takes for one."""
    collisions = find_collisions(names)
    if collisions and ignores_case(folder):
        first, second = collisions[0][:2]
        raise InputError(
            f"the disk of {folder} takes {first!r} and {second!r} for one file, and {len(collisions)} such names are "
            "needed; choose an --output on a disk that tells upper from lower case"
        )


def find_collisions(names: Iterable[str]) -> list[list[str]]:
    """Names that differ in upper and lower case alone, together."""
    folded: dict[str, list[str]] = defaultdict(list)
    for name in names:
        folded[name.casefold()].append(name)
    return [alike for alike in folded.values() if len(alike) > 1]


def ignores_case(folder: Path) -> bool:
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".flashvideo-case-") as probe:
        path = Path(probe.name)
        return path.with_name(path.name.upper()).exists()
