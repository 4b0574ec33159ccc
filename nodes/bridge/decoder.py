"""A small decoder (taecvx, or the embedded one) behind the methods that comfy.sd.VAE calls."""

from collections.abc import Sequence
from typing import NoReturn

import comfy.ops
import torch
from torch import Tensor

from ...flashvideo_core.config import SmallDecoderConfig
from ...flashvideo_core.errors import InputError
from ...flashvideo_core.sizes import clip_size
from ...flashvideo_core.small_decoder import SmallDecoder
from ...flashvideo_core.types import ProgressCallback
from ...flashvideo_core.vae_chunks import AUTO, ChunkSize
from .progress import make_progress_callback
from .tiles import decode_in_tiles

ONLY_DECODES = "this VAE is a small decoder, which cannot encode; connect the VAE itself here"


class HostedDecoder(SmallDecoder):
    """Frames stay in CPU memory, as with the whole VAE. Whatever would encode says that this one cannot."""

    comfy_has_chunked_io = True

    def __init__(self, config: SmallDecoderConfig, dtype: torch.dtype):
        super().__init__(config, comfy.ops.disable_weight_init, dtype=dtype)
        self.dtype = dtype

    def cast_input(self, z: Tensor) -> Tensor:
        return z.to(self.device, self.dtype)  # `device` is kept by the ModelPatcher; weights may be elsewhere

    def decode_output_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return shape[0], 3, *clip_size(*shape[2:])

    def decode(
        self,
        z: Tensor,
        callback: ProgressCallback | None = None,
        phase: str = "decode",
        out: Tensor | None = None,
        chunk_size: ChunkSize = AUTO,
        output_buffer: Tensor | None = None,
    ) -> Tensor:
        """As the whole VAE's; chunk_size is not needed, frames go one at a time where they are large."""
        out = output_buffer if out is None else out
        return super().decode(z, callback or make_progress_callback(), phase, out)

    def decode_tiled(
        self,
        z: Tensor,
        tile_x: int = 64,
        tile_y: int = 64,
        overlap: int = 16,
        tile_t: int | None = None,
        overlap_t: int | None = None,
        callback: ProgressCallback | None = None,
        phase: str = "decode",
    ) -> Tensor:
        """tile_t and overlap_t are not used."""
        return decode_in_tiles(self.decode, z, (tile_y, tile_x), overlap, callback, phase)

    def encode(self, *args, **kwargs) -> NoReturn:
        raise InputError(ONLY_DECODES)

    encode_tiled = encode
