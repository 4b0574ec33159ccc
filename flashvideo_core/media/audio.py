"""The sound of a clip, carried from an input video into the outputs: PyAV frames <-> samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from av import AudioFrame, AudioResampler, AudioStream
from av.container import OutputContainer

from ..errors import InputError
from ..types import Notify
from .demux import Decoder

AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
JUMP = Fraction(1, 10)  # seconds; times that go back further have started anew


@dataclass(frozen=True)
class Audio:
    """Samples float32 [channels (1 or 2), N] in -1..1, the first at the time of the first frame; rate in Hz."""

    samples: torch.Tensor
    rate: int


def decode_audio(decoder: Decoder, begin: Fraction, seconds: Fraction, note: Notify) -> Audio | None:
    """The sound from `begin` for `seconds`, silence where there is none; more than two channels are mixed down.

    Sound that changes its rate or channels is converted to those that its header tells. Times that jump back (files
    joined end to end) go on where the sound before them has ended. None where no packet of it can be decoded.
    """
    stream = decoder.stream
    channels, rate = min(2, len(stream.codec_context.layout.channels)) or 2, stream.rate
    samples = np.zeros((channels, round(seconds * rate)), np.float32)
    end, joined = None, 0  # where the sound so far ends; how much later than its times say the sound goes on
    for block in _convert(decoder, _layout(channels), rate, note):
        at = end or 0 if block.pts is None else joined + round((block.pts * block.time_base - begin) * rate)
        if end is not None and at < end - JUMP * rate:
            joined, at = joined + end - at, end
        elif end is not None and abs(at - end) <= rate * stream.time_base:
            at = end  # a time rounded to the time base: a gap would be heard
        if at >= samples.shape[1]:
            break
        heard = block.to_ndarray()[:, max(0, -at) :]
        target = samples[:, max(0, at) :][:, : heard.shape[1]]
        target[:] = heard[:, : target.shape[1]]
        end = at + block.samples
    if decoder.skipped and end is None:
        note("its sound cannot be decoded and is left out")
        return None
    if decoder.skipped:
        note(f"its sound is damaged: {decoder.skipped} packets could not be decoded, silence in their place")
    return Audio(torch.from_numpy(samples), rate)


def _convert(decoder: Decoder, layout: str, rate: int, note: Notify) -> Iterator[AudioFrame]:
    """The decoded frames as float planes of this layout and rate, whatever each has been."""
    before, resampler = None, None
    for frame in decoder.frames():
        kind = (frame.sample_rate, frame.layout.name, frame.format.name)
        if kind != before:
            if before is not None:
                yield from _flush(resampler)
            if before is not None and kind[:2] != before[:2]:
                note(f"its sound changes its rate or channels on the way; all of it is converted to {rate} Hz {layout}")
            before, resampler = kind, AudioResampler("fltp", layout, rate)
        yield from resampler.resample(frame)
    if resampler is not None:
        yield from _flush(resampler)


def _flush(resampler: AudioResampler) -> list[AudioFrame]:
    return [frame for frame in resampler.resample(None) if frame is not None]


def add_audio_stream(container: OutputContainer, audio: Audio, codec: str = "aac") -> AudioStream:
    """A stream for `audio`, at its own rate; at 48 kHz where AAC does not have that rate.

    Raises InputError for samples that are not [1 or 2, N].
    """
    if audio.samples.ndim != 2 or audio.samples.shape[0] not in (1, 2):
        raise InputError(f"audio samples must be [1 or 2 channels, N], got {list(audio.samples.shape)}")
    rate = audio.rate if codec != "aac" or audio.rate in AAC_RATES else 48000
    return container.add_stream(codec, rate=rate, layout=_layout(audio.samples.shape[0]))


def encode_audio(container: OutputContainer, stream: AudioStream, audio: Audio, seconds: Fraction) -> None:
    """Encodes the first `seconds` of `audio`."""
    samples = audio.samples[:, : round(seconds * audio.rate)].float().cpu().contiguous().numpy()
    frame = AudioFrame.from_ndarray(samples, format="fltp", layout=_layout(len(samples)))
    frame.sample_rate, frame.pts, frame.time_base = audio.rate, 0, Fraction(1, audio.rate)
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _layout(channels: int) -> str:
    return "mono" if channels == 1 else "stereo"
