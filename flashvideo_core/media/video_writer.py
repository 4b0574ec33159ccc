"""Frames -> file: a video in one of the codecs of codecs.py, in BT.709, with the sound of a clip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TypedDict

import av
import torch
import torch.nn.functional as F
from av import AudioStream, VideoFrame, VideoStream
from av.container import OutputContainer

from ..errors import InputError
from ..weights.atomic import atomic_write, check_writable, name_full_disk
from .audio import Audio, add_audio_stream, encode_audio
from .clock import Clock, make_clock
from .codecs import H264, VideoFormat, check_crf, check_encoder
from .color import rgb_to_frame
from .encoders import add_video_stream, quiet_encoders

MAX_FPS = 1000


class ContainerOptions(TypedDict):
    """Of av.open."""

    format: str
    options: dict[str, str]


def write_video(
    path: str | Path,
    frames: torch.Tensor | Iterable[torch.Tensor],
    fps: Fraction | float,
    *,
    crf: float | None = None,
    metadata: dict[str, str] | None = None,
    audio: Audio | None = None,
    video: VideoFormat = H264,
    times: Sequence[Fraction] | None = None,
) -> int:
    """Writes frames [F, H, W, 3] in 0..1 (or an iterable of such chunks, to keep memory low) and returns F.

    An mp4 or mov, as `video` says, in BT.709 and limited range, of exactly F frames at constant `fps`, or each shown
    from times[i] to times[i + 1] (F + 1 times in seconds, the first is 0; fps is their average). crf: the quality, None
    for the codec's default. `metadata` goes into the container, `audio` is cut to the clip. The same input gives the
    same bytes on one machine. It is written under a temporary name in the same folder and renamed, so an error or
    Ctrl-C leaves nothing. Raises InputError for no frames, sizes that change or that the pixel format does not have,
    fps, crf or times out of range, a codec without an encoder here, and a folder that cannot be written.
    """
    clock = make_clock(check_fps(fps), times)
    with open_video_writer(path, clock, crf=crf, metadata=metadata, audio=audio, video=video) as writer:
        for chunk in [frames] if isinstance(frames, torch.Tensor) else frames:
            writer.write(chunk)
    return writer.count


@contextmanager
def open_video_writer(
    path: str | Path,
    clock: Clock,
    *,
    crf: float | None = None,
    metadata: dict[str, str] | None = None,
    audio: Audio | None = None,
    video: VideoFormat = H264,
) -> Iterator[VideoWriter]:
    """`write_video` for frames that come by and by: what is written to the writer is the file when this ends."""
    path, crf = Path(path), check_crf(video, crf)
    check_encoder(video)
    check_writable(path.parent)
    with (
        quiet_encoders(),
        atomic_write(path) as partial,
        av.open(f"file:{partial}", "w", **container_options(video)) as container,
    ):
        container.metadata.update(metadata or {})
        writer = VideoWriter(path, container, clock, video, crf, audio)
        yield writer
        writer.finish()


def container_options(video: VideoFormat) -> ContainerOptions:
    return {"format": video.codec.container, "options": {"movflags": "use_metadata_tags+faststart"}}


@dataclass
class VideoWriter:
    """Encodes frames of one size into a container, and at the end the sound."""

    path: Path
    container: OutputContainer
    clock: Clock
    video: VideoFormat
    crf: float | None
    audio: Audio | None
    count: int = 0  # frames so far
    size: tuple[int, int] | None = None  # (height, width), from the first frame on, as are the streams
    stream: VideoStream | None = None
    sound: AudioStream | None = None

    def write(self, frames: torch.Tensor) -> None:
        """frames [F, H, W, 3] in 0..1. Raises InputError for another size than before, or one that cannot be."""
        check_frames(frames, self.size)
        with name_full_disk(self.path):
            for rgb in frames:
                self._begin(rgb.shape[:2])
                frame = rgb_to_frame(rgb, self.video.pixels)
                frame.pts, frame.time_base = self.clock.tick(self.count), self.clock.time_base
                self._mux(frame)
                self.count += 1

    def finish(self) -> None:
        """Raises InputError where no frame was written."""
        if not self.count:
            raise InputError("a video needs at least one frame")
        with name_full_disk(self.path):
            self._mux(None)
            if self.audio:
                encode_audio(self.container, self.sound, self.audio, self.clock.seconds(self.count))

    def _begin(self, size: tuple[int, int]) -> None:
        if self.stream is None:
            self.size = size
            self.stream = add_video_stream(self.container, self.video, size, self.clock, self.crf)
            self.sound = self.audio and add_audio_stream(self.container, self.audio, self.video.codec.sound)

    def _mux(self, frame: VideoFrame | None) -> None:
        packets = self.stream.encode(frame)
        if self.clock.ticks is not None:  # encoders know the durations of a constant rate only
            for packet in packets:
                packet.duration = self.clock.duration(packet.pts)
        self.container.mux(packets)


def check_frames(frames: torch.Tensor, size: tuple[int, int] | None) -> None:
    """Raises InputError for what is not [F, H, W, 3] of this (height, width); None: of any."""
    if frames.ndim != 4 or frames.shape[-1] != 3 or (size and frames.shape[1:3] != size):
        now = f"{list(frames.shape)} (size so far: {size})"
        raise InputError(f"frames must be [F, H, W, 3] of one size, got {now}")


def check_fps(fps: Fraction | float) -> Fraction:
    """The rate as files keep it: a fraction stays exact, a float becomes the nearest one below 1001 parts.

    Raises InputError for a rate that is not over 0 and at most 1000.
    """
    if not 0 < fps <= MAX_FPS:  # NaN fails too
        raise InputError(f"fps must be over 0 and at most {MAX_FPS}, got {fps}")
    if isinstance(fps, Fraction) and max(fps.numerator, fps.denominator) < 2**31:
        return fps
    return Fraction(fps).limit_denominator(1001) or Fraction(1, round(1 / fps))


def put_side_by_side(left: torch.Tensor, right: torch.Tensor, mode: str = "bilinear") -> torch.Tensor:
    """left [F, h, w, 3] resized (bilinear or nearest) to the size of right [F, H, W, 3], and right: [F, H, 2W, 3].

    Long clips: call it on chunks of frames and give the chunks to `write_video`. Raises InputError for another count.
    """
    if len(left) != len(right):
        raise InputError(f"put_side_by_side needs as many frames left as right, got {len(left)} and {len(right)}")
    left = F.interpolate(left.movedim(-1, 1), tuple(right.shape[1:3]), mode=mode).movedim(1, -1)
    return torch.cat([left.to(right), right], dim=2)
