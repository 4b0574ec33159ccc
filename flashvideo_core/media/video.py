"""Frames <-> file: H.264 in mp4 out, anything that PyAV decodes in.

Frames are float32 [F, H, W, 3] in 0..1. What a file had that a tensor cannot carry (alpha, uneven timing, HDR, ...) is
said in `Video.notes`; a file that cannot be read is a ValueError of one line that names it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import torch
import torch.nn.functional as F

from ..errors import InputError
from ..weights.atomic import atomic_write
from .audio import Audio, add_audio_stream, decode_audio, encode_audio
from .color import frame_to_rgb, rgb_to_yuv420

LIMITED_RANGE, BT709 = 1, 1  # AVCOL_RANGE_MPEG; the H.273 code of BT.709 for matrix, primaries and transfer alike
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


def write_video(
    path: str | Path,
    frames: torch.Tensor | Iterable[torch.Tensor],
    fps: Fraction | float,
    *,
    crf: float = 17,
    metadata: dict[str, str] | None = None,
    audio: Audio | None = None,
) -> int:
    """Writes [F, H, W, 3] in 0..1 (or an iterable of such chunks, to keep memory low) and returns F.

    An mp4 of H.264, yuv420p, BT.709, limited range, with exactly F frames at constant `fps`; `metadata` goes into the
    container, `audio` as AAC cut to the clip. The same input gives the same bytes on one machine. It is written under a
    temporary name in the same folder and renamed, so an error or Ctrl-C leaves nothing. ValueError: no frames, sizes
    that are odd or change (yuv420p needs even ones), fps or crf out of range, a folder that cannot be written.
    """
    path, rate = Path(path), _rate(fps)
    if not 0 <= crf <= 51:
        raise InputError(f"crf must be in 0..51, got {crf}")
    check_writable(path.parent)
    options = {"movflags": "use_metadata_tags+faststart"}
    with atomic_write(path) as part, av.open(f"file:{part}", "w", format="mp4", options=options) as container:
        container.metadata.update(metadata or {})
        count = _encode(container, [frames] if isinstance(frames, torch.Tensor) else frames, rate, crf, audio)
    return count


def _rate(fps: Fraction | float) -> Fraction:
    if not 0 < fps <= 1000:  # NaN fails too
        raise InputError(f"fps must be over 0 and at most 1000, got {fps}")
    return fps if isinstance(fps, Fraction) else Fraction(fps).limit_denominator(1001)


def _encode(container, chunks: Iterable[torch.Tensor], rate: Fraction, crf: float, audio: Audio | None) -> int:
    count, size, stream, sound = 0, None, None, None
    for chunk in chunks:
        if chunk.ndim != 4 or chunk.shape[-1] != 3 or (size and chunk.shape[1:3] != size):
            raise InputError(f"frames must be [F, H, W, 3] of one size, got {list(chunk.shape)} (size so far: {size})")
        for rgb in chunk:
            if stream is None:
                size = rgb.shape[:2]
                stream = _video_stream(container, size, rate, crf)
                sound = audio and add_audio_stream(container, audio)
            frame = av.VideoFrame.from_ndarray(rgb_to_yuv420(rgb), "yuv420p")
            frame.pts, frame.time_base = count, 1 / rate
            container.mux(stream.encode(frame))
            count += 1
    if not count:
        raise InputError("a video needs at least one frame")
    container.mux(stream.encode(None))
    if audio:
        encode_audio(container, sound, audio, count / rate)
    return count


def _video_stream(container, size: tuple[int, int], rate: Fraction, crf: float):
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


def check_writable(folder: str | Path) -> None:
    """Creates the folder where needed and writes a file in it; ValueError that names the folder if that fails."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".writable-") as probe:
            probe.write(b"1")
    except OSError as error:
        raise InputError(f"cannot write into the folder {folder}: {error.strerror}") from None


def read_video(path: str | Path, *, start: int = 0, max_frames: int | None = None) -> Video:
    """Decodes the frames from number `start` on, at most `max_frames`; also a picture, as one frame.

    Timing that is not constant is resampled to its average rate (nearest frame in time). Rotation tags are applied.
    ValueError: not a file, not a video, no frame left to return, frames of several sizes.
    """
    if start < 0 or (max_frames is not None and max_frames < 1):
        raise InputError(f"start must be at least 0 and max_frames at least 1, got {start} and {max_frames}")
    notes, pictures, pts = [], [], []
    with _open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        stop = None if max_frames is None else start + max_frames
        for frame in islice(_decode(container, stream, notes), start, stop):
            notes += _frame_notes(frame, stream.codec_context.color_trc)
            pictures.append(_upright(frame))
            pts.append(frame.pts)
            if pictures[-1].shape != pictures[0].shape:
                raise InputError(f"{path}: its frames change size")
        if not pictures:
            raise InputError(f"{path}: no frame could be decoded" + (f" from number {start} on" if start else ""))
        count = start + len(pictures)
        if stop is None and stream.frames > count:
            notes.append(f"incomplete: {count} of {stream.frames} frames could be decoded")
        order, fps = _constant_rate(pts, stream, notes)
        begin = Fraction(0) if pts[0] is None else pts[0] * stream.time_base
        metadata = dict(container.metadata)
    frames = torch.stack([pictures[i] for i in order])
    with _open(path) as container:
        sounds = container.streams.audio[:1]
        audio = next((decode_audio(_decode(container, s, notes), s, begin, len(frames) / fps) for s in sounds), None)
    return Video(frames, fps, audio, metadata, tuple(dict.fromkeys(notes)))


def probe_video(path: str | Path) -> VideoInfo:
    """Size, rate and frame count of a video file, with one frame decoded. ValueError as in `read_video`."""
    with _open(path) as container:
        stream = container.streams.video[0]
        shown = next((_upright(frame) for frame in _decode(container, stream, [])), None)
        if shown is None:
            raise InputError(f"{path}: no frame could be decoded")
    with _open(path) as container:  # anew: a picture cannot be rewound
        stream = container.streams.video[0]
        pts = sorted(packet.pts for packet in container.demux(stream) if packet.pts is not None)
        _, fps = _constant_rate(pts, stream, [])
        times = tuple(float((t - pts[0]) * stream.time_base) for t in pts) or (0.0,)
        return VideoInfo(*shown.shape[:2], fps, len(times), bool(container.streams.audio), times)


def read_frames(path: str | Path, numbers: Sequence[int]) -> torch.Tensor:
    """The decoded frames of these ascending numbers, [len(numbers), H, W, 3] in 0..1; no other is kept.

    ValueError as in `read_video`, and for a number that the file does not reach.
    """
    wanted, kept = set(numbers), {}
    with _open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for i, frame in enumerate(islice(_decode(container, stream, []), numbers[-1] + 1)):
            if i in wanted:
                kept[i] = _upright(frame)
    if len(kept) < len(wanted):
        raise InputError(f"{path}: frame {min(wanted - kept.keys())} could not be decoded")
    if len({frame.shape for frame in kept.values()}) > 1:
        raise InputError(f"{path}: its frames change size")
    return torch.stack([kept[i] for i in numbers])


@contextmanager
def _open(path: str | Path) -> Iterator:
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


def _decode(container, stream, notes: list[str]) -> Iterator:
    try:
        yield from container.decode(stream)
    except av.FFmpegError as error:
        notes.append(f"damaged: decoding stopped early ({error.strerror})")


def _upright(frame) -> torch.Tensor:
    return torch.rot90(frame_to_rgb(frame), frame.rotation // 90)  # both count counterclockwise


def _frame_notes(frame, transfer: int) -> list[str]:
    parts = frame.format.components
    said = {
        "alpha ignored": any(part.is_alpha for part in parts),
        f"{parts[0].bits} bits a colour, read without loss and written as 8": parts[0].bits > 8,
        f"rotated by {frame.rotation % 360} degrees counterclockwise, as tagged": frame.rotation,
        "HDR transfer curve, not tone-mapped": transfer in HDR_TRANSFERS,
        "interlaced, fields not separated": frame.interlaced_frame,
        "some frames are damaged": frame.is_corrupt,
    }
    return [note for note, holds in said.items() if holds]


def _constant_rate(pts: list, stream, notes: list[str]) -> tuple[list[int], Fraction]:
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
    notes.append(f"variable frame rate, resampled to its average of {float(measured):.3f} fps")
    grid = np.linspace(times[0], times[-1], len(times))
    return np.searchsorted((times[1:] + times[:-1]) / 2, grid).tolist(), measured


def side_by_side(left: torch.Tensor, right: torch.Tensor, mode: str = "bilinear") -> torch.Tensor:
    """[F, h, w, 3] resized (bilinear or nearest) to the size of [F, H, W, 3] and put left of it: [F, H, 2W, 3].
    Long clips: call it on chunks of frames and give the chunks to `write_video`."""
    if len(left) != len(right):
        raise InputError(f"side_by_side needs as many frames left as right, got {len(left)} and {len(right)}")
    left = F.interpolate(left.movedim(-1, 1), tuple(right.shape[1:3]), mode=mode).movedim(1, -1)
    return torch.cat([left.to(right), right], dim=2)
