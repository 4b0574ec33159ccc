"""Frames -> file: an mp4 of H.264, yuv420p, BT.709, with the sound of a clip as AAC."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import torch
import torch.nn.functional as F
from av import AudioStream, VideoFrame, VideoStream
from av.container import OutputContainer

from ..errors import InputError
from ..weights.atomic import atomic_write, check_writable, name_full_disk
from .audio import Audio, add_audio_stream, encode_audio
from .color import rgb_to_yuv420

MAX_FPS = 1000
MP4 = {"format": "mp4", "options": {"movflags": "use_metadata_tags+faststart"}}  # of av.open
LIMITED_RANGE, BT709 = 1, 1  # AVCOL_RANGE_MPEG; the H.273 code of BT.709 for matrix, primaries and transfer alike


def write_video(
    path: str | Path,
    frames: torch.Tensor | Iterable[torch.Tensor],
    fps: Fraction | float,
    *,
    crf: float = 17,
    metadata: dict[str, str] | None = None,
    audio: Audio | None = None,
) -> int:
    """Writes frames [F, H, W, 3] in 0..1 (or an iterable of such chunks, to keep memory low) and returns F.

    An mp4 of H.264, yuv420p, BT.709, limited range, with exactly F frames at constant `fps`; `metadata` goes into the
    container, `audio` as AAC cut to the clip. The same input gives the same bytes on one machine. It is written under a
    temporary name in the same folder and renamed, so an error or Ctrl-C leaves nothing. Raises InputError for no
    frames, sizes that are odd or change (yuv420p needs even ones), fps or crf out of range, and a folder that cannot be
    written.
    """
    with open_video_writer(path, fps, crf=crf, metadata=metadata, audio=audio) as writer:
        for chunk in [frames] if isinstance(frames, torch.Tensor) else frames:
            writer.write(chunk)
    return writer.count


@contextmanager
def open_video_writer(
    path: str | Path,
    fps: Fraction | float,
    *,
    crf: float = 17,
    metadata: dict[str, str] | None = None,
    audio: Audio | None = None,
) -> Iterator[VideoWriter]:
    """`write_video` for frames that come by and by: what is written to the writer is the file when this ends."""
    path, rate = Path(path), check_fps(fps)
    if not 0 <= crf <= 51:
        raise InputError(f"crf must be in 0..51, got {crf}")
    check_writable(path.parent)
    with atomic_write(path) as partial, av.open(f"file:{partial}", "w", **MP4) as container:
        container.metadata.update(metadata or {})
        writer = VideoWriter(path, container, rate, crf, audio)
        yield writer
        writer.finish()


@dataclass
class VideoWriter:
    """Encodes frames of one size into a container, and at the end the sound."""

    path: Path
    container: OutputContainer
    rate: Fraction
    crf: float
    audio: Audio | None
    count: int = 0  # frames so far
    size: tuple[int, int] | None = None  # (height, width), from the first frame on, as are the streams
    stream: VideoStream | None = None
    sound: AudioStream | None = None

    def write(self, frames: torch.Tensor) -> None:
        """frames [F, H, W, 3] in 0..1. Raises InputError for another size than before, or an odd one."""
        if frames.ndim != 4 or frames.shape[-1] != 3 or (self.size and frames.shape[1:3] != self.size):
            now = f"{list(frames.shape)} (size so far: {self.size})"
            raise InputError(f"frames must be [F, H, W, 3] of one size, got {now}")
        with name_full_disk(self.path):
            for rgb in frames:
                self._begin(rgb.shape[:2])
                frame = VideoFrame.from_ndarray(rgb_to_yuv420(rgb), "yuv420p")
                frame.pts, frame.time_base = self.count, 1 / self.rate
                self.container.mux(self.stream.encode(frame))
                self.count += 1

    def finish(self) -> None:
        """Raises InputError where no frame was written."""
        if not self.count:
            raise InputError("a video needs at least one frame")
        with name_full_disk(self.path):
            self.container.mux(self.stream.encode(None))
            if self.audio:
                encode_audio(self.container, self.sound, self.audio, self.count / self.rate)

    def _begin(self, size: tuple[int, int]) -> None:
        if self.stream is None:
            self.size, self.stream = size, _add_video_stream(self.container, size, self.rate, self.crf)
            self.sound = self.audio and add_audio_stream(self.container, self.audio)


def check_fps(fps: Fraction | float) -> Fraction:
    """The rate as files keep it: a fraction stays exact, a float becomes the nearest one below 1001 parts.

    Raises InputError for a rate that is not over 0 and at most 1000.
    """
    if not 0 < fps <= MAX_FPS:  # NaN fails too
        raise InputError(f"fps must be over 0 and at most {MAX_FPS}, got {fps}")
    if isinstance(fps, Fraction) and max(fps.numerator, fps.denominator) < 2**31:
        return fps
    return Fraction(fps).limit_denominator(1001) or Fraction(1, round(1 / fps))


def _add_video_stream(container: OutputContainer, size: tuple[int, int], rate: Fraction, crf: float) -> VideoStream:
    height, width = size
    if height % 2 or width % 2:
        raise InputError(f"H.264 in yuv420p needs an even height and width, got {height}x{width}")
    # mbtree=0: at the size of a small draft x264's macroblock tree reads unset memory, and the bytes never repeat
    stream = container.add_stream("libx264", rate=rate, options={"crf": f"{crf:g}", "x264-params": "mbtree=0"})
    stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
    stream.time_base = stream.codec_context.time_base = 1 / rate
    context = stream.codec_context
    context.color_range = LIMITED_RANGE
    context.colorspace = context.color_primaries = context.color_trc = BT709
    return stream


def put_side_by_side(left: torch.Tensor, right: torch.Tensor, mode: str = "bilinear") -> torch.Tensor:
    """left [F, h, w, 3] resized (bilinear or nearest) to the size of right [F, H, W, 3], and right: [F, H, 2W, 3].

    Long clips: call it on chunks of frames and give the chunks to `write_video`. Raises InputError for another count.
    """
    if len(left) != len(right):
        raise InputError(f"put_side_by_side needs as many frames left as right, got {len(left)} and {len(right)}")
    left = F.interpolate(left.movedim(-1, 1), tuple(right.shape[1:3]), mode=mode).movedim(1, -1)
    return torch.cat([left.to(right), right], dim=2)
