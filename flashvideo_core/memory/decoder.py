"""What a pass through a small decoder takes. It needs no split: it goes frame by frame where frames are large."""

from functools import lru_cache

import torch

from ..config import SmallDecoderConfig
from ..meta_trace import trace_memory
from ..sizes import latent_size
from ..small_decoder import SmallDecoder

TRACED = 2  # latent frames: later ones take no more


def decoder_peak(
    config: SmallDecoderConfig, clip: tuple[int, int, int], dtype: torch.dtype, device: torch.device
) -> int:
    """Peak bytes beside weights and input of a clip (frames, height, width), with all its frames in float32."""
    t, h, w = latent_size(*clip)
    traced = min(t, TRACED)
    return 4 * 3 * 4 * (t - traced) * clip[1] * clip[2] + trace_decoder(config, (traced, h, w), dtype, device)


@lru_cache(maxsize=256)
def trace_decoder(
    config: SmallDecoderConfig, latent: tuple[int, int, int], dtype: torch.dtype, device: torch.device
) -> int:
    """Of a latent (T, H, W), on tensors without data (meta_trace.py)."""
    with torch.device("meta"):
        decoder, z = SmallDecoder(config, dtype=dtype), torch.empty(1, config.latent_channels, *latent)
    known = (z, *decoder.parameters())
    return trace_memory(lambda: decoder.decode(z), *known, reordered=device.type in ("cpu", "cuda")).peak
