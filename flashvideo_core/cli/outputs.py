"""The files of a clip: which there are, what is written into them, and when a clip is finished.

A folder holds draft.safetensors, draft.mp4, final.mp4, side_by_side.mp4 and, written last, clip.json; in place of
final.mp4 it may be final.mov or, for pictures, a folder final, as the codec goes into. The vbench
layout is one folder of `{prompt}-{index}.mp4` and nothing else: the record is in the container, and a draft
lies in .drafts/ only until its clip is finished.
"""

import glob
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import InputError
from ..media.codecs import CODECS, H264, VideoFormat
from ..media.draft_file import load_draft, save_draft
from ..media.picture_writer import check_pictures_folder
from ..media.video_writer import write_video
from ..pipeline import Draft
from ..plans import RefinePlan
from ..weights.atomic import MAX_NAME, atomic_write
from .record import METADATA_KEY, Record, read_record
from .saved_draft import SavedDraft

FINALS = tuple({f"final{VideoFormat(codec, 0).suffix}": None for codec in CODECS.values()})  # by codec
MAX_SLUG = 48  # characters of a prompt in a folder name


@dataclass(frozen=True)
class ClipFiles:
    """Where the files of one clip go; None for one that the layout does not have. final: a folder for pictures."""

    draft: Path
    final: Path
    refined: Path  # stage 2's latent, there until the clip is finished
    lock: Path
    state: Path  # of a stage between two evaluations
    draft_video: Path | None = None
    side_by_side: Path | None = None
    sidecar: Path | None = None

    def folders(self) -> set[Path]:
        """Those to write into. Not .drafts, which comes and goes with the clips of every process."""
        return {self.final.parent} if self.sidecar is None else {self.draft.parent, self.final.parent}

    @property
    def parts(self) -> Path:
        """How the names of the videos' parts begin (clip_parts.py), which are there, as `refined` is, until the clip
        is."""
        return self.refined.with_suffix("")

    def temporary(self) -> list[Path]:
        """All that is there of a clip only until it is finished, and what killed processes left of writing it."""
        name, state = glob.escape(self.refined.stem), glob.escape(self.state.name)
        patterns = (f"{name}.*", f".{name}.*.part", state, f".{state}.*.part")
        return [path for pattern in patterns for path in self.refined.parent.glob(pattern)]

    def visible(self) -> list[Path]:
        """Those that are there when the clip is finished, clip.json last."""
        paths = (self.draft, self.final, self.draft_video, self.side_by_side, self.sidecar)
        return [path for path in paths if path is not None]


def folder_files(folder: Path, video: VideoFormat = H264) -> ClipFiles:
    names = ("draft.safetensors", f"final{video.suffix}", ".refined.safetensors", ".flashvideo.lock")
    names += (".sampling.safetensors", "draft.mp4", "side_by_side.mp4", "clip.json")
    return ClipFiles(*(folder / name for name in names))


def clip_files(folder: Path) -> list[Path]:
    """All that a clip of any codec can have in its folder, clip.json last."""
    draft, _, *others = folder_files(folder).visible()
    return [draft, *(folder / name for name in FINALS), *others]


def vbench_files(folder: Path, prompt: str, index: int) -> ClipFiles:
    """Raises InputError for a prompt that cannot be a file name, as VBench needs it."""
    name = vbench_name(prompt, index)
    if "/" in prompt or "\\" in prompt or "\0" in prompt or len(name.encode()) > MAX_NAME:
        raise InputError(f"this prompt cannot be a file name, which --layout vbench needs: {prompt[:60]!r}")
    hidden, own = folder / ".drafts", clip_name(prompt, index)
    suffixes = (".safetensors", ".refined.safetensors", ".lock", ".sampling.safetensors")
    draft, refined, lock, state = (hidden / f"{own}{suffix}" for suffix in suffixes)
    return ClipFiles(draft, folder / name, refined, lock, state)


def vbench_name(prompt: str, index: int) -> str:
    return f"{prompt}-{index}.mp4"


def clip_name(prompt: str, index: int) -> str:
    """A folder name that is readable, and the prompt's own: "a-red-ball-moves-left-3f9a61-0"."""
    slug = re.sub(r"\W+", "-", prompt.lower()).strip("-")[:MAX_SLUG].strip("-")
    return f"{slug}-{hashlib.sha256(prompt.encode()).hexdigest()[:6]}-{index}".lstrip("-")


def is_finished(files: ClipFiles, record: Record) -> bool:
    """Whether this very clip is there: all its files, made with what the record asks for."""
    expected = (files.final, files.draft_video, files.side_by_side, files.sidecar)
    if not all(is_there(path, record.video) for path in expected if path is not None):
        return False
    try:
        return read_record(files.sidecar or files.final) == record
    except InputError:
        return False


def is_there(path: Path, video: VideoFormat) -> bool:
    """Whether a file of a clip is there, or the folder that holds its pictures."""
    if video.is_pictures and not path.suffix:
        return path.is_dir() and any(path.iterdir())
    return path.is_file()


def check_places(files: ClipFiles) -> None:
    """Raises InputError where a folder lies where a file is to be, or something else where pictures are to be."""
    for path in files.visible():
        if path == files.final and not path.suffix:
            check_pictures_folder(path)
        elif path.is_dir():
            raise InputError(f"{path} is a folder; a file is written there, so choose another --output")


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
    return (latent, saved.refine_plan) if saved.of_latent() == record.of_latent() and saved.refine_plan else None


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
        metadata = video_metadata(record.of_draft())
        write_video(files.draft_video, d.frames, d.fps, crf=preview_crf(record), metadata=metadata)


def preview_crf(record: Record) -> float | None:
    """The quality of drafts and comparisons, which are H.264 always: the clip's where that is, too."""
    return record.crf if record.video.codec == H264.codec else None


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", "utf-8")


def video_metadata(record: Record) -> dict[str, str]:
    """The record, and the prompt where players show it."""
    return {METADATA_KEY: json.dumps(record.to_json()), "comment": record.prompt}
