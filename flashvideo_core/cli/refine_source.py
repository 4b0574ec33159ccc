"""What `refine` refines: a saved draft, or the frames of any video or pictures with their rate, times and sound."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

from ..errors import InputError
from ..media.audio import Audio
from ..media.file_names import PICTURES, picture_number
from ..media.picture_sequence import PictureFrames, survey_pictures
from ..media.timing import CONSTANT, DEFAULT_RATE, KEEP
from ..media.video_frames import VideoFrames
from ..media.video_reader import VideoSource, probe_video, survey_video
from ..media.video_writer import check_fps
from ..sizes import check_frame_count, floor_frame_count
from ..types import Notify
from ..weights.reader import file_sha256
from .record import METADATA_KEY, Record, SourceFile
from .record_schema import is_text
from .saved_draft import SavedDraft
from .source_files import SourceFiles


@dataclass(frozen=True)
class SourceOptions:
    """Of videos and pictures. frames None: all; fps: of pictures, None for FFmpeg's 25; timing: CONSTANT or KEEP."""

    frames: int | None = None
    fps: float | None = None
    timing: str = CONSTANT

    def named(self) -> list[str]:
        """The options that are not as they are by themselves."""
        names = {"--frames": self.frames is not None, "--fps": self.fps is not None, "--timing": self.timing == KEEP}
        return [name for name, is_named in names.items() if is_named]


@dataclass(frozen=True)
class Source:
    """Either a saved draft, or a video, whose frames are read where they lie. size is (height, width) of its frames;
    times: when each begins and the last ends, where they are kept (media/clock.py)."""

    files: SourceFiles
    size: tuple[int, int]
    prompt: str  # "" where it does not tell
    fps: Fraction | None = None
    draft: SavedDraft | None = None
    frames: VideoFrames | PictureFrames | None = None
    audio: Audio | None = None
    times: tuple[Fraction, ...] | None = None

    @property
    def record(self) -> Record | None:
        """How the draft was made, where we made it."""
        return self.draft.record if self.draft else None


def open_source(files: SourceFiles, options: SourceOptions, notify: Notify) -> Source:
    """A saved draft, else a video or pictures, cut to 4n+1 frames. Raises InputError."""
    if files.is_draft:
        saved = SavedDraft.load(files.path)
        if named := options.named():
            count = saved.clip_size[0]
            what = f"{files.path} is a draft, of which all {count} frames are refined"
            raise InputError(f"{named[0]} is for videos; {what}")
        prompt, fps = (saved.record.prompt, saved.record.fps) if saved.record else ("", None)
        return Source(files, saved.clip_size[1:], prompt, fps, draft=saved)
    return open_video(files, options, notify)


def open_video(files: SourceFiles, options: SourceOptions, notify: Notify) -> Source:
    """The first of a video's frames, cut at the end to 4n+1. They are read when they are needed."""
    if options.frames is not None:
        check_frame_count(options.frames, most=None)
    video, total = survey_sequence(files, options, notify) if files.is_sequence else survey_file(files, options)
    for text in video.notes:
        notify(f"{files.file}: {text}")
    found = video.frames
    total = max(total, len(found))  # more than stored where some stand in for others
    count = floor_frame_count(min(options.frames or len(found), len(found)))
    if count < total:
        notify(f"{files.file}: {count} of its {total} frames are used (4n+1)")
    times = video.times and video.times[: count + 1]
    prompt = read_prompt(video.metadata)
    return Source(files, found.size, prompt, video.fps, None, found.cut(count), video.audio, times)


def survey_file(files: SourceFiles, options: SourceOptions) -> tuple[VideoSource, int]:
    """A video or a picture, and how many frames are stored."""
    path, frames = files.path, options.frames
    is_picture = path.suffix.lower() in PICTURES
    if options.fps is not None and not is_picture:
        raise InputError(f"--fps is for pictures; {path} tells its rate itself")
    total = probe_video(path).frames
    most = frames if frames and frames < total else None
    video = survey_video(path, max_frames=most, keep_times=options.timing == KEEP)
    return video if options.fps is None else replace(video, fps=check_fps(options.fps)), total


def survey_sequence(files: SourceFiles, options: SourceOptions, notify: Notify) -> tuple[VideoSource, int]:
    if options.fps is None:
        notify(f"{files.file}: shown at {DEFAULT_RATE} frames a second; --fps says another rate")
    if missing := count_missing(files):
        notify(f"{files.file}: {missing} numbers are missing; the pictures beside them follow each other")
    paths = files.paths[: options.frames]
    return survey_pictures(paths, check_fps(options.fps or DEFAULT_RATE)), len(files.paths)


def count_missing(files: SourceFiles) -> int:
    """Numbers without a picture, in steps of the smallest that there is."""
    numbers = [picture_number(path) for path in files.paths]
    if None in numbers:
        return 0
    steps = [later - number for number, later in pairwise(numbers)]
    return 0 if min(steps) < 1 else (numbers[-1] - numbers[0]) // min(steps) + 1 - len(numbers)


def describe_source(files: SourceFiles) -> SourceFile:
    """What the record tells of it; of pictures, a hash of their hashes."""
    hashes = [file_sha256(path) for path in files.paths]
    whole = hashlib.sha256("".join(hashes).encode()).hexdigest() if files.is_sequence else hashes[0]
    return {"file": files.file, "sha256": whole}


def read_prompt(metadata: Mapping[str, str]) -> str:
    """The prompt of a video that we made; "" for any other."""
    try:
        prompt = json.loads(metadata.get(METADATA_KEY, ""))["prompt"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return prompt if is_text(prompt) else ""
