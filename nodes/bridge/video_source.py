"""A VIDEO as the frames that stage 2 refines: read where they lie if it has a file, so that a film is never whole."""

import hashlib
import io as bytes_io
from bisect import bisect_left
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import folder_paths
from comfy_api.latest import Input, InputImpl
from torch import Tensor

from ...flashvideo_core.errors import InputError
from ...flashvideo_core.media.audio import Audio
from ...flashvideo_core.media.video_reader import probe_video, survey_video
from ...flashvideo_core.media.video_writer import check_fps
from ...flashvideo_core.types import Frames
from ...flashvideo_core.weights.atomic import atomic_write
from ...flashvideo_core.weights.reader import file_sha256
from .fingerprint import hash_content
from .types import ComfyAudio


@dataclass(frozen=True)
class VideoClip:
    """All frames with their rate and sound; size is (height, width). content: a hash of these, the same after a
    restart; notes: what is to be said of the file."""

    frames: Frames
    size: tuple[int, int]
    fps: Fraction
    audio: Audio | None
    content: str
    notes: tuple[str, ...]


def open_video(video: Input.Video) -> VideoClip:
    """The frames of a VIDEO. Raises InputError for one without a frame that can be decoded."""
    if isinstance(video, InputImpl.VideoFromFile):
        return open_video_file(find_file(video.get_stream_source()), *video.get_active_trim_window())
    components = video.get_components()
    images = components.images[..., :3]
    audio, fps = read_audio(components.audio), check_fps(components.frame_rate)
    content = hash_content([hash_frames(images), str(fps), audio and [audio.samples, audio.rate]])
    return VideoClip(images, tuple(images.shape[1:3]), fps, audio, content, ())


def open_video_file(path: Path, start: float, duration: float) -> VideoClip:
    """start, duration: of what ComfyUI has trimmed the video to, in seconds; a duration of 0: to the end."""
    first, most = find_trim(path, start, duration) if start or duration else (0, None)
    source = survey_video(path, start=first, max_frames=most)
    content = hash_content([file_sha256(path), first, most])
    return VideoClip(source.frames, source.frames.size, source.fps, source.audio, content, source.notes)


def find_trim(path: Path, start: float, duration: float) -> tuple[int, int | None]:
    """The number of the first frame and how many there are. Raises InputError for none."""
    times = probe_video(path).times
    first = bisect_left(times, start)
    stop = bisect_left(times, start + duration) if duration else len(times)
    if first >= stop:
        raise InputError(f"{path}: it is trimmed to {duration:g} seconds from {start:g} on, where it has no frame")
    return first, stop - first


def find_file(source: str | bytes_io.BytesIO) -> Path:
    """The file of a video; one that is in memory is written into ComfyUI's temp folder, under its hash."""
    if not isinstance(source, bytes_io.BytesIO):
        return Path(source)
    content = source.getbuffer()
    path = Path(folder_paths.get_temp_directory(), "FlashVideo", f"{hashlib.sha256(content).hexdigest()}.video")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        partial.write_bytes(content)
    return path


def read_audio(audio: ComfyAudio | None) -> Audio | None:
    """ComfyUI's AUDIO, of which the first of a batch; more than two channels become their mean."""
    if audio is None or not audio["waveform"].numel():
        return None
    samples = audio["waveform"][0].float().cpu()
    return Audio(samples if len(samples) <= 2 else samples.mean(0, keepdim=True), int(audio["sample_rate"]))


def hash_frames(images: Tensor) -> str:
    """Of images [F, H, W, 3], frame by frame: all at once would be in memory once more."""
    return hash_content([hash_content(frame) for frame in images])
