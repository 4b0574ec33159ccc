"""The command `vbench check`: what a folder of VBench clips lacks, what is broken in it, and what else lies there."""

import argparse
from pathlib import Path

from ..errors import InputError
from ..media.video_reader import probe_video
from .progress import Reporter
from .record import read_record
from .vbench_manifest import read_manifest
from .vbench_suite import SuiteClip


def run(args: argparse.Namespace, reporter: Reporter) -> None:
    check(Path(args.folder), reporter)


def check(folder: Path, reporter: Reporter) -> None:
    """Lists the files by what is wrong with them. Raises InputError, after that, where there are any."""
    expected = read_manifest(folder).clips
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder")
    there = {path.name for path in folder.iterdir()}
    missing, superfluous = sorted(expected.keys() - there), sorted(there - expected.keys())
    broken = {}
    for number, name in enumerate(present := sorted(expected.keys() & there), 1):
        if fault := find_fault(folder / name, expected[name]):
            broken[name] = fault
        reporter.progress("check", number, len(present))
    lines = [f"missing: {name}" for name in missing] + [f"broken: {name}: {fault}" for name, fault in broken.items()]
    lines += [f"superfluous: {name}" for name in superfluous]
    found = {"clips": len(expected), "missing": missing, "broken": broken, "superfluous": superfluous}
    reporter.finish(found, lines or [f"all {len(expected)} clips are there and whole"])
    if lines:
        counts = f"{len(missing)} of {len(expected)} missing, {len(broken)} broken, {len(superfluous)} superfluous"
        raise InputError(f"{folder} is not what VBench needs: {counts}; the same vbench generate makes the first two")


def find_fault(path: Path, clip: SuiteClip) -> str | None:
    """What is wrong with a file: it cannot be read, has lost frames, or is another clip."""
    try:
        record, frames = read_record(path), probe_video(path).frames
    except InputError as error:
        return str(error).removeprefix(f"{path}: ").removeprefix(f"{path} ")
    if record.draft is None or frames != record.draft.frames:
        return f"it has {frames} frames" + (f" of {record.draft.frames}" if record.draft else "")
    if (record.prompt, record.draft.seed) != (clip.shown, clip.seed):
        return f"it was made with seed {record.draft.seed} and the prompt {record.prompt[:60]!r}"
    return None
