"""What `refine` refines: a saved draft, or the frames of any video with its rate and sound."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from ..errors import InputError
from ..media.audio import Audio
from ..media.video_frames import VideoFrames
from ..media.video_reader import probe_video, survey_video
from ..sizes import check_frame_count, floor_frame_count
from ..types import Notify
from .record import METADATA_KEY, Record
from .record_schema import is_text
from .saved_draft import SavedDraft


@dataclass(frozen=True)
class Source:
    """Either a saved draft, or a video, whose frames are read where they lie. size is (height, width) of its frames."""

    path: Path
    size: tuple[int, int]
    prompt: str  # "" where it does not tell
    fps: Fraction | None = None
    draft: SavedDraft | None = None
    frames: VideoFrames | None = None
    audio: Audio | None = None

    @property
    def record(self) -> Record | None:
        """How the draft was made, where we made it."""
        return self.draft.record if self.draft else None


def open_source(path: Path, frames: int | None, notify: Notify) -> Source:
    """A saved draft (or the folder of one), else a video, cut to 4n+1 frames. Raises InputError."""
    path = find_source(path)
    if path.suffix == ".safetensors":
        saved = SavedDraft.load(path)
        if frames is not None:
            count = saved.clip_size[0]
            raise InputError(f"--frames is for videos; {path} is a draft, of which all {count} frames are refined")
        prompt, fps = (saved.record.prompt, saved.record.fps) if saved.record else ("", None)
        return Source(path, saved.clip_size[1:], prompt, fps, draft=saved)
    return open_video(path, frames, notify)


def find_source(path: Path) -> Path:
    """The file itself, or the draft in a folder."""
    return path / "draft.safetensors" if path.is_dir() else path


def open_video(path: Path, frames: int | None, notify: Notify) -> Source:
    """The first `frames` of a video (None: all), cut at the end to 4n+1. They are read when they are needed."""
    if frames is not None:
        check_frame_count(frames, most=None)
    total = probe_video(path).frames
    video = survey_video(path, max_frames=frames if frames and frames < total else None)
    for text in video.notes:
        notify(f"{path.name}: {text}")
    found = video.frames
    total = max(total, len(found))  # more than stored where some stand in for others
    count = floor_frame_count(min(frames or len(found), len(found)))
    if count < total:
        notify(f"{path.name}: {count} of its {total} frames are used (4n+1)")
    shown = replace(found, order=found.order[:count])
    return Source(path, found.size, read_prompt(video.metadata), video.fps, frames=shown, audio=video.audio)


def read_prompt(metadata: Mapping[str, str]) -> str:
    """The prompt of a video that we made; "" for any other."""
    try:
        prompt = json.loads(metadata.get(METADATA_KEY, ""))["prompt"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return prompt if is_text(prompt) else ""
