"""The files of a clip: which there are, what is written into them, and when a clip is finished.

A folder holds draft.safetensors, draft.mp4, final.mp4, side_by_side.mp4 and, written last, clip.json. The vbench
layout is one folder of `{prompt}-{index}.mp4` and nothing else: the record is in the container, and a draft
lies in .drafts/ only until its clip is finished.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..errors import InputError
from ..media.audio import Audio
from ..media.draft_file import load_draft, save_draft
from ..media.video_writer import put_side_by_side, write_video
from ..pipeline import Clip, Draft
from ..weights.atomic import atomic_write
from .record import KEY, asked, draft_record, read_record

MAX_NAME = 255  # bytes of a file name, on every common file system
SLUG = 48


@dataclass(frozen=True)
class Files:
    """Where the files of one clip go; None for one that the layout does not have."""

    draft: Path
    final: Path
    draft_video: Path | None = None
    both: Path | None = None
    sidecar: Path | None = None

    def folders(self) -> set[Path]:
        return {self.draft.parent, self.final.parent}


def folder_files(folder: Path) -> Files:
    names = ("draft.safetensors", "final.mp4", "draft.mp4", "side_by_side.mp4", "clip.json")
    return Files(*(folder / name for name in names))


def vbench_files(folder: Path, prompt: str, index: int) -> Files:
    """Raises ValueError for a prompt that cannot be a file name, as VBench needs it."""
    name = f"{prompt}-{index}.mp4"
    if "/" in prompt or "\\" in prompt or "\0" in prompt or len(name.encode()) > MAX_NAME:
        raise InputError(f"this prompt cannot be a file name, which --layout vbench needs: {prompt[:60]!r}")
    return Files(folder / ".drafts" / f"{clip_name(prompt, index)}.safetensors", folder / name)


def clip_name(prompt: str, index: int) -> str:
    """A folder name that is readable, and the prompt's own: "a-red-ball-moves-left-3f9a61-0"."""
    slug = re.sub(r"\W+", "-", prompt.lower()).strip("-")[:SLUG].strip("-")
    return f"{slug}-{hashlib.sha256(prompt.encode()).hexdigest()[:6]}-{index}".lstrip("-")


def finished(files: Files, record: dict) -> bool:
    """Whether this very clip is there: all its files, made with what the record asks for."""
    expected = [path for path in (files.final, files.draft_video, files.both, files.sidecar) if path is not None]
    if not all(path.is_file() for path in expected):
        return False
    try:
        return asked(read_record(files.sidecar or files.final)) == asked(record)
    except ValueError:
        return False


def finished_draft(files: Files, record: dict) -> tuple[Tensor, dict] | None:
    """The latent and record of this very draft, if it was saved before."""
    try:
        latent, found = load_draft(files.draft)
    except ValueError:
        return None
    return (latent, found) if found and asked(found) == asked(draft_record(record)) else None


def write_draft(files: Files, d: Draft, record: dict) -> None:
    """Saves the draft's latent. What an earlier clip left beside it no longer belongs to it and goes first."""
    for stale in (files.sidecar, files.final, files.both, files.draft_video):
        if stale is not None:
            stale.unlink(missing_ok=True)
    files.draft.parent.mkdir(parents=True, exist_ok=True)
    save_draft(files.draft, d.latent, draft_record(record))


def write_draft_video(files: Files, d: Draft, record: dict) -> None:
    if files.draft_video is not None:
        write_video(files.draft_video, d.frames, d.fps, crf=record["crf"], metadata=container(draft_record(record)))


def write_clip(
    files: Files, clip: Clip, record: dict, paths: dict, audio: Audio | None = None, callback: Callable | None = None
) -> None:
    """Writes the refined video, the comparison and, last, the sidecar that says that all is there."""
    how = {"fps": clip.fps, "crf": record["crf"], "metadata": container(record), "audio": audio}
    write_video(files.final, counted(clip.frames, callback), **how)
    if files.both is not None:
        pairs = zip(clip.draft.frames.split(1), clip.frames.split(1), strict=True)
        write_video(files.both, (put_side_by_side(left, right) for left, right in pairs), **how)
    if files.sidecar is not None:
        write_json(files.sidecar, record | {"paths": paths})
    else:
        files.draft.unlink(missing_ok=True)
        with suppress(OSError):  # not empty: drafts of clips that are not finished
            files.draft.parent.rmdir()


def write_json(path: Path, record: dict) -> None:
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", "utf-8")


def container(record: dict) -> dict[str, str]:
    """Metadata of a video: the record, and the prompt where players show it."""
    return {KEY: json.dumps(record), "comment": record["prompt"]}


def counted(frames: Tensor, callback: Callable | None) -> Iterator[Tensor]:
    """The frames one by one, each reported as a step of the phase "write"."""
    for i, frame in enumerate(frames.split(1), 1):
        yield frame
        if callback is not None:
            callback("write", i, len(frames), None)
