"""File -> frames: anything that PyAV decodes, also a picture.

Frames are float32 [F, H, W, 3] in 0..1. What a file had that a tensor cannot carry (alpha, uneven timing, HDR, ...) is
said in `Video.notes`; a file that cannot be read is an InputError of one line that names it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import torch
from av import AudioStream, VideoFrame, VideoStream
from av.container import InputContainer
from av.frame import Frame

from ..errors import InputError
from ..types import Notify
from .audio import Audio, decode_audio
from .color import frame_to_rgb

HDR_TRANSFERS = (16, 18)  # H.273: PQ, HLG


@dataclass(frozen=True)
class Video:
    """A decoded clip: frames float32 [F, H, W, 3] in 0..1 at a constant rate, and what is to be said about the file."""

    frames: torch.Tensor
    fps: Fraction
    audio: Audio | None
    metadata: dict[str, str]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class VideoInfo:
    """What `probe_video` finds without decoding more than one frame; size as shown (after rotation), times of the
    frames in seconds from the first one."""

    height: int
    width: int
    fps: Fraction
    frames: int
    has_audio: bool
    times: tuple[float, ...] = (0.0,)


def read_video(path: str | Path, *, start: int = 0, max_frames: int | None = None) -> Video:
    """Decodes the frames from number `start` on, at most `max_frames`, and the sound that goes with them.

    Timing that is not constant is resampled to its average rate (nearest frame in time). Rotation tags are applied.
    Raises InputError for what is not a file or not a video, no frame left to return, and frames of several sizes.
    """
    if start < 0 or (max_frames is not None and max_frames < 1):
        raise InputError(f"start must be at least 0 and max_frames at least 1, got {start} and {max_frames}")
    notes: list[str] = []
    pictures, pts = [], []
    with _open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        stop = None if max_frames is None else start + max_frames
        for frame in islice(_decode(container, stream, notes.append), start, stop):
            notes += _describe_frame(frame, stream.codec_context.color_trc)
            pictures.append(_turn_upright(frame))
            pts.append(frame.pts)
            if pictures[-1].shape != pictures[0].shape:
                raise InputError(f"{path}: its frames change size")
        if not pictures:
            raise InputError(f"{path}: no frame could be decoded" + (f" from number {start} on" if start else ""))
        count = start + len(pictures)
        if stop is None and stream.frames > count:
            notes.append(f"incomplete: {count} of {stream.frames} frames could be decoded")
        order, fps = _constant_rate(pts, stream, notes.append)
        begin = Fraction(0) if pts[0] is None else pts[0] * stream.time_base
        metadata = dict(container.metadata)
    frames = torch.stack([pictures[i] for i in order])
    audio = _read_audio(path, begin, len(frames) / fps, notes.append)
    return Video(frames, fps, audio, metadata, tuple(dict.fromkeys(notes)))


def _read_audio(path: str | Path, begin: Fraction, seconds: Fraction, note: Notify) -> Audio | None:
    """The first sound of the file from `begin` on; None where it has none."""
    with _open(path) as container:
        for stream in container.streams.audio[:1]:
            return decode_audio(_decode(container, stream, note), stream, begin, seconds)
    return None


def probe_video(path: str | Path) -> VideoInfo:
    """Size, rate and frame count of a video file, with one frame decoded. Raises InputError as `read_video` does."""
    with _open(path) as container:
        stream = container.streams.video[0]
        first = next((_turn_upright(frame) for frame in _decode(container, stream, _ignore)), None)
        if first is None:
            raise InputError(f"{path}: no frame could be decoded")
    with _open(path) as container:  # anew: a picture cannot be rewound
        stream = container.streams.video[0]
        pts = sorted(packet.pts for packet in container.demux(stream) if packet.pts is not None)
        _, fps = _constant_rate(pts, stream, _ignore)
        times = tuple(float((t - pts[0]) * stream.time_base) for t in pts) or (0.0,)
        return VideoInfo(*first.shape[:2], fps, len(times), bool(container.streams.audio), times)


def _ignore(note: str) -> None:
    pass


def read_frames(path: str | Path, numbers: Sequence[int]) -> torch.Tensor:
    """The decoded frames of these ascending numbers, [len(numbers), H, W, 3] in 0..1; no other is kept.

    Raises InputError as `read_video` does, and for a number that the file does not reach.
    """
    wanted, kept = set(numbers), {}
    with _open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for i, frame in enumerate(islice(_decode(container, stream, _ignore), numbers[-1] + 1)):
            if i in wanted:
                kept[i] = _turn_upright(frame)
    if len(kept) < len(wanted):
        raise InputError(f"{path}: frame {min(wanted - kept.keys())} could not be decoded")
    if len({frame.shape for frame in kept.values()}) > 1:
        raise InputError(f"{path}: its frames change size")
    return torch.stack([kept[i] for i in numbers])


@contextmanager
def _open(path: str | Path) -> Iterator[InputContainer]:
    """The container of a local file that has a video stream. `file:` and the whitelist keep names that look like
    addresses, and playlists, from reaching anything else."""
    if not Path(path).is_file():
        raise InputError(f"{path}: there is no such file")
    try:
        container = av.open(f"file:{path}", options={"protocol_whitelist": "file"}, metadata_errors="replace")
    except (av.FFmpegError, OSError):
        raise InputError(f"{path}: not a video file (or one that is cut off or damaged)") from None
    with container:
        if not container.streams.video or container.format.name == "tty":  # tty: FFmpeg draws text files
            raise InputError(f"{path}: has no video in it (or is cut off before it)")
        yield container


def _decode(container: InputContainer, stream: VideoStream | AudioStream, note: Notify) -> Iterator[Frame]:
    """The frames up to the end or to the first one that cannot be decoded."""
    try:
        yield from container.decode(stream)
    except av.FFmpegError as error:
        note(f"damaged: decoding stopped early ({error.strerror})")


def _turn_upright(frame: VideoFrame) -> torch.Tensor:
    return torch.rot90(frame_to_rgb(frame), frame.rotation // 90)  # both count counterclockwise


def _describe_frame(frame: VideoFrame, transfer: int) -> list[str]:
    """What a user should know about the file that this frame is from; transfer is its H.273 code."""
    components = frame.format.components
    notes = {
        "alpha ignored": any(component.is_alpha for component in components),
        f"{components[0].bits} bits a colour, read without loss and written as 8": components[0].bits > 8,
        f"rotated by {frame.rotation % 360} degrees counterclockwise, as tagged": frame.rotation,
        "HDR transfer curve, not tone-mapped": transfer in HDR_TRANSFERS,
        "interlaced, fields not separated": frame.interlaced_frame,
        "some frames are damaged": frame.is_corrupt,
    }
    return [note for note, holds in notes.items() if holds]


def _constant_rate(pts: list[int | None], stream: VideoStream, note: Notify) -> tuple[list[int], Fraction]:
    """Which decoded frame to show at each instant of a constant rate, and that rate.

    Timing counts as constant if its steps differ by no more than rounding to the time base or a tenth of a frame."""
    declared = stream.average_rate or stream.guessed_rate or Fraction(25)
    if len(pts) < 2 or None in pts or pts[-1] <= pts[0]:
        return list(range(len(pts))), declared
    times = np.array(pts, dtype=np.float64)
    steps = np.diff(times)
    measured = (len(steps) / ((pts[-1] - pts[0]) * stream.time_base)).limit_denominator(1001)
    if np.ptp(steps) <= max(1, 0.1 * steps.mean()):
        return list(range(len(pts))), declared if abs(declared / measured - 1) < 0.02 else measured
    note(f"variable frame rate, resampled to its average of {float(measured):.3f} fps")
    grid = np.linspace(times[0], times[-1], len(times))
    return np.searchsorted((times[1:] + times[:-1]) / 2, grid).tolist(), measured
