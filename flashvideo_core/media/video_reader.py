"""File -> frames: anything that PyAV decodes, also a picture.

Frames are float32 [F, H, W, 3] in 0..1. What a file had that a tensor cannot carry (alpha, uneven timing, HDR, ...) is
said in `Video.notes`; a file that cannot be read is an InputError of one line that names it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import torch

from ..errors import InputError
from ..types import FrameReader, Notify
from .audio import Audio, decode_audio
from .demux import Decoder, open_media
from .film import Film, index_frames, open_film
from .timing import FitTiming, Timing, fit_constant_rate, fit_own_times, frame_ticks
from .video_frames import VideoFrames


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


@dataclass(frozen=True)
class VideoSource:
    """A video whose frames are read when they are needed; the rest as in `Video`. times: when each frame begins and the
    last ends, in seconds from the first, where they are kept."""

    frames: FrameReader
    fps: Fraction
    audio: Audio | None
    metadata: dict[str, str]
    notes: tuple[str, ...]
    times: tuple[Fraction, ...] | None = None


def read_video(path: str | Path, *, start: int = 0, max_frames: int | None = None) -> Video:
    """Decodes the frames from number `start` on, at most `max_frames`, and the sound that goes with them.

    Timing that is not constant is resampled to its average rate (nearest frame in time); where frames of a constant
    rate are lost, the nearest stand in. Rotation and mirroring are applied, pixels that are not square scaled.
    Raises InputError for what is not a file or not a video, no frame left to return, and frames of several sizes.
    """
    pictures: list[torch.Tensor] = []
    source = _survey(path, start, max_frames, pictures.append)
    frames = torch.stack([pictures[i] for i in source.frames.order])
    return Video(frames, source.fps, source.audio, source.metadata, source.notes)


def survey_video(
    path: str | Path, *, start: int = 0, max_frames: int | None = None, keep_times: bool = False
) -> VideoSource:
    """`read_video` that keeps no frame: all are decoded once, for their times, and again whenever they are read.

    keep_times: timing that is not constant is not resampled; each frame is there once, with its own time.
    """
    return _survey(path, start, max_frames, fit=fit_own_times if keep_times else fit_constant_rate)


def _survey(
    path: str | Path,
    start: int,
    max_frames: int | None,
    keep: Callable[[torch.Tensor], None] | None = None,
    fit: FitTiming = fit_constant_rate,
) -> VideoSource:
    """keep gets each decoded frame as it is to be shown, [H, W, 3]."""
    if start < 0 or (max_frames is not None and max_frames < 1):
        raise InputError(f"start must be at least 0 and max_frames at least 1, got {start} and {max_frames}")
    notes: dict[str, None] = {}
    pts, size, last = [], None, 0
    with open_film(path) as film:
        decoder = Decoder(film.container, film.stream)
        stop = None if max_frames is None else start + max_frames
        for frame in islice(decoder.frames(), start, stop):
            notes |= dict.fromkeys(film.describe(frame))
            pts.append(frame.pts)
            last = frame_ticks(frame)
            size = size or film.shown_size(frame)
            if film.shown_size(frame) != size:
                raise InputError(f"{path}: its frames change size")
            if keep is not None:
                keep(film.show(frame))
        if not pts:
            raise InputError(f"{path}: no frame could be decoded" + (f" from number {start} on" if start else ""))
        timing = fit(pts, film.rates, film.stream.time_base, last)
        count, lost = start + len(pts), decoder.skipped
        if stop is None:
            lost = max(lost, _count_unread(film, decoder, count, pts[-1], timing))
        notes |= dict.fromkeys(_describe_timing(timing, count, lost))
        metadata, has_audio = dict(film.container.metadata), bool(film.container.streams.audio)
    frames = VideoFrames(Path(path), size, start, timing.order[:max_frames])
    said: list[str] = []
    times = timing.times and timing.times[: len(frames) + 1]
    seconds = times[-1] if times else len(frames) / timing.fps
    audio = _read_audio(path, timing.begin, seconds, said.append) if has_audio else None
    return VideoSource(frames, timing.fps, audio, metadata, tuple(notes | dict.fromkeys(said)), times)


def _count_unread(film: Film, decoder: Decoder, count: int, last: int | None, timing: Timing) -> int:
    """How many of the frames that the file's header counts were not read, though no packet of theirs was refused."""
    stream, unread = film.stream, max(0, film.stream.frames - decoder.discarded - count)
    if last is None or not stream.duration:
        return unread
    frame = 1 / (timing.fps * stream.time_base)
    # at the end of the film it is an edit list that ends there, or AVI, which counts instants without a frame too
    ends_early = last + frame * 3 / 2 < (stream.start_time or 0) + stream.duration
    return unread if ends_early else min(unread, timing.gaps)


def _describe_timing(timing: Timing, count: int, lost: int) -> list[str]:
    lost, missing = max(lost, timing.gaps) if lost else 0, f"{timing.gaps} missing at its {float(timing.fps):.6g} fps"
    said = [
        f"incomplete: {count} of {count + lost} frames could be decoded" if lost else "",
        f"the nearest frames in time stand in for {missing}" if timing.gaps else "",
        timing.note,
    ]
    return ["; ".join(text for text in said if text)] if any(said) else []


def _read_audio(path: str | Path, begin: Fraction, seconds: Fraction, note: Notify) -> Audio | None:
    """The first sound of the file that can be decoded, from `begin` on; None where there is none."""
    with open_media(path) as container:
        for stream in container.streams.audio:
            if stream.codec_context is not None:
                return decode_audio(Decoder(container, stream), begin, seconds, note)
    note("its sound has no decoder here and is left out")
    return None


def probe_video(path: str | Path) -> VideoInfo:
    """Size, rate and frame count of a video file, with one frame decoded. Raises InputError as `read_video` does."""
    with open_film(path) as film:
        first = next((film.show(frame) for frame in Decoder(film.container, film.stream).frames()), None)
        if first is None:
            raise InputError(f"{path}: no frame could be decoded")
    with open_film(path) as film:  # anew: a picture cannot be rewound
        count, pts = index_frames(film)
        rates, time_base = film.rates, film.stream.time_base
        has_audio = any(stream.codec_context is not None for stream in film.container.streams.audio)
    if not pts:
        return VideoInfo(*first.shape[:2], rates[0], count, has_audio, tuple(float(i / rates[0]) for i in range(count)))
    times = tuple(float((time - pts[0]) * time_base) for time in pts)
    return VideoInfo(*first.shape[:2], fit_constant_rate(pts, rates, time_base).fps, count, has_audio, times)


def read_frames(path: str | Path, numbers: Sequence[int]) -> torch.Tensor:
    """The frames of these ascending numbers (as `probe_video` times them), [len(numbers), H, W, 3] in 0..1; no other
    is kept. Raises InputError as `read_video` does, and for a frame that is lost or that the file does not reach."""
    with open_film(path) as film:
        _, times = index_frames(film)
        # AVI stores no presentation times; those that FFmpeg guesses are out of order for H.264 with B-frames
        number_at = {} if film.container.format.name == "avi" else {time: i for i, time in enumerate(times)}
    wanted, kept = set(numbers), {}
    with open_film(path) as film:
        for i, frame in enumerate(Decoder(film.container, film.stream).frames()):
            number = number_at.get(frame.pts, -1) if number_at else i
            if number in wanted:
                kept[number] = film.show(frame)
            if number >= numbers[-1]:
                break
    if len(kept) < len(wanted):
        raise InputError(f"{path}: frame {min(wanted - kept.keys())} could not be decoded")
    if len({frame.shape for frame in kept.values()}) > 1:
        raise InputError(f"{path}: its frames change size")
    return torch.stack([kept[i] for i in numbers])
