"""The sound of a clip, carried from an input video into the outputs: PyAV frames <-> samples."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from av import AudioFrame, AudioResampler, AudioStream
from av.container import OutputContainer

from ..errors import InputError

AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)


@dataclass(frozen=True)
class Audio:
    """Samples float32 [channels (1 or 2), N] in -1..1, the first at the time of the first frame; rate in Hz."""

    samples: torch.Tensor
    rate: int


def decode_audio(frames: Iterable[AudioFrame], stream: AudioStream, begin: Fraction, seconds: Fraction) -> Audio:
    """The sound from `begin` for `seconds`, silence where there is none; more than two channels are mixed down."""
    channels = min(2, len(stream.codec_context.layout.channels))
    resampler = AudioResampler("fltp", _layout(channels), stream.rate)
    samples = np.zeros((channels, round(seconds * stream.rate)), np.float32)
    for frame in frames:
        for block in resampler.resample(frame):
            at = round((block.pts * block.time_base - begin) * stream.rate)
            if at >= samples.shape[1]:
                return Audio(torch.from_numpy(samples), stream.rate)
            heard = block.to_ndarray()[:, max(0, -at) :]
            target = samples[:, max(0, at) :][:, : heard.shape[1]]
            target[:] = heard[:, : target.shape[1]]
    return Audio(torch.from_numpy(samples), stream.rate)


def add_audio_stream(container: OutputContainer, audio: Audio) -> AudioStream:
    """An AAC stream for `audio`, at its own rate where AAC has that rate and at 48 kHz otherwise.

    Raises InputError for samples that are not [1 or 2, N].
    """
    if audio.samples.ndim != 2 or audio.samples.shape[0] not in (1, 2):
        raise InputError(f"audio samples must be [1 or 2 channels, N], got {list(audio.samples.shape)}")
    rate = audio.rate if audio.rate in AAC_RATES else 48000
    return container.add_stream("aac", rate=rate, layout=_layout(audio.samples.shape[0]))


def encode_audio(container: OutputContainer, stream: AudioStream, audio: Audio, seconds: Fraction) -> None:
    """Encodes the first `seconds` of `audio`."""
    samples = audio.samples[:, : round(seconds * audio.rate)].float().cpu().contiguous().numpy()
    frame = AudioFrame.from_ndarray(samples, format="fltp", layout=_layout(len(samples)))
    frame.sample_rate, frame.pts, frame.time_base = audio.rate, 0, Fraction(1, audio.rate)
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _layout(channels: int) -> str:
    return "mono" if channels == 1 else "stereo"
