"""The files of a clip: which there are, what is written into them, and when a clip is finished.

A folder holds draft.safetensors, draft.mp4, final.mp4, side_by_side.mp4 and, written last, clip.json. The vbench
layout is one folder of `{prompt}-{index}.mp4` and nothing else: the record is in the container, and a draft
lies in .drafts/ only until its clip is finished.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import InputError
from ..media.audio import Audio
from ..media.draft_file import load_draft, save_draft
from ..media.video_writer import put_side_by_side, write_video
from ..pipeline import Clip, Draft
from ..plans import RefinePlan
from ..types import ProgressCallback
from ..weights.atomic import MAX_NAME, atomic_write
from .record import METADATA_KEY, Record, read_record
from .saved_draft import SavedDraft

MAX_SLUG = 48  # characters of a prompt in a folder name


@dataclass(frozen=True)
class ClipFiles:
    """Where the files of one clip go; None for one that the layout does not have."""

    draft: Path
    final: Path
    refined: Path  # stage 2's latent, there until the clip is finished
    lock: Path
    draft_video: Path | None = None
    side_by_side: Path | None = None
    sidecar: Path | None = None

    def folders(self) -> set[Path]:
        """Those to write into. Not .drafts, which comes and goes with the clips of every process."""
        return {self.final.parent} if self.sidecar is None else {self.draft.parent, self.final.parent}

    def visible(self) -> list[Path]:
        """Those that are there when the clip is finished, clip.json last."""
        paths = (self.draft, self.final, self.draft_video, self.side_by_side, self.sidecar)
        return [path for path in paths if path is not None]


def folder_files(folder: Path) -> ClipFiles:
    names = ("draft.safetensors", "final.mp4", ".refined.safetensors", ".flashvideo.lock")
    names += ("draft.mp4", "side_by_side.mp4", "clip.json")
    return ClipFiles(*(folder / name for name in names))


def vbench_files(folder: Path, prompt: str, index: int) -> ClipFiles:
    """Raises InputError for a prompt that cannot be a file name, as VBench needs it."""
    name = vbench_name(prompt, index)
    if "/" in prompt or "\\" in prompt or "\0" in prompt or len(name.encode()) > MAX_NAME:
        raise InputError(f"this prompt cannot be a file name, which --layout vbench needs: {prompt[:60]!r}")
    hidden, own = folder / ".drafts", clip_name(prompt, index)
    drafts = (hidden / f"{own}{suffix}" for suffix in (".safetensors", ".refined.safetensors", ".lock"))
    draft, refined, lock = drafts
    return ClipFiles(draft, folder / name, refined, lock)


def vbench_name(prompt: str, index: int) -> str:
    return f"{prompt}-{index}.mp4"


def clip_name(prompt: str, index: int) -> str:
    """A folder name that is readable, and the prompt's own: "a-red-ball-moves-left-3f9a61-0"."""
    slug = re.sub(r"\W+", "-", prompt.lower()).strip("-")[:MAX_SLUG].strip("-")
    return f"{slug}-{hashlib.sha256(prompt.encode()).hexdigest()[:6]}-{index}".lstrip("-")


def is_finished(files: ClipFiles, record: Record) -> bool:
    """Whether this very clip is there: all its files, made with what the record asks for."""
    expected = (files.final, files.draft_video, files.side_by_side, files.sidecar)
    if not all(path.is_file() for path in expected if path is not None):
        return False
    try:
        return read_record(files.sidecar or files.final) == record
    except InputError:
        return False


def find_draft(files: ClipFiles, record: Record) -> SavedDraft | None:
    """This very draft, if it was saved before."""
    try:
        saved = SavedDraft.load(files.draft)
    except InputError:
        return None
    return saved if saved.record == record.of_draft() else None


def find_refined(files: ClipFiles, record: Record) -> tuple[Tensor, RefinePlan] | None:
    """Stage 2's latent of this very clip and its plan, if a run was stopped after it."""
    try:
        latent, values = load_draft(files.refined)
        saved = Record.from_json(values)
    except InputError:
        return None
    return (latent, saved.refine_plan) if saved == record and saved.refine_plan else None


def write_draft(files: ClipFiles, latent: Tensor, record: Record) -> None:
    """Saves the draft's latent. A video of another draft, left beside it unfinished, goes first."""
    if files.draft_video is not None:
        files.draft_video.unlink(missing_ok=True)
    files.draft.parent.mkdir(parents=True, exist_ok=True)
    save_draft(files.draft, latent, record.of_draft().to_json())


def write_refined(files: ClipFiles, latent: Tensor, record: Record) -> None:
    """Saves stage 2's latent until the clip is finished."""
    files.refined.parent.mkdir(parents=True, exist_ok=True)
    save_draft(files.refined, latent, record.to_json())


def write_draft_video(files: ClipFiles, d: Draft, record: Record) -> None:
    """The draft's frames, where the layout has a video of them."""
    if files.draft_video is not None:
        write_video(files.draft_video, d.frames, d.fps, crf=record.crf, metadata=video_metadata(record.of_draft()))


def write_clip(
    files: ClipFiles,
    clip: Clip,
    record: Record,
    paths: dict[str, str],
    audio: Audio | None = None,
    callback: ProgressCallback | None = None,
) -> None:
    """Writes the refined video, the comparison and, last, the sidecar that says that all is there.

    paths: of the components, for the sidecar alone.
    """
    video = {"fps": clip.fps, "crf": record.crf, "metadata": video_metadata(record), "audio": audio}
    write_video(files.final, count_frames(clip.frames, callback), **video)
    if files.side_by_side is not None:
        pairs = zip(clip.draft.frames.split(1), clip.frames.split(1), strict=True)
        write_video(files.side_by_side, (put_side_by_side(left, right) for left, right in pairs), **video)
    if files.sidecar is not None:
        write_json(files.sidecar, replace(record, paths=paths).to_json())
    else:
        files.draft.unlink(missing_ok=True)
    files.refined.unlink(missing_ok=True)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", "utf-8")


def video_metadata(record: Record) -> dict[str, str]:
    """The record, and the prompt where players show it."""
    return {METADATA_KEY: json.dumps(record.to_json()), "comment": record.prompt}


def count_frames(frames: Tensor, callback: ProgressCallback | None) -> Iterator[Tensor]:
    """The frames [F, H, W, 3] one by one, each reported as a step of the phase "write"."""
    for i, frame in enumerate(frames.split(1), 1):
        yield frame
        if callback is not None:
            callback("write", i, len(frames), None)
