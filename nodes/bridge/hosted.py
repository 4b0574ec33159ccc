"""What comfy.sd.VAE calls of a network that decodes, the same for the whole VAE and for a small decoder."""

from collections.abc import Sequence

import comfy.ops
import torch
from torch import Tensor

from ...flashvideo_core.config import SmallDecoderConfig, VAEConfig
from ...flashvideo_core.sizes import clip_size
from ...flashvideo_core.tiling import count_tiles, map_tiles
from ...flashvideo_core.types import ProgressCallback
from .progress import make_progress_callback, make_tile_callbacks


class Hosted:
    """Mixed into a network of the core, before it: ComfyUI's construction, devices and tiles.

    Frames stay in CPU memory. Without a callback each call draws a progress bar of its own.
    """

    comfy_has_chunked_io = True

    def __init__(self, config: VAEConfig | SmallDecoderConfig, dtype: torch.dtype):
        super().__init__(config, comfy.ops.disable_weight_init, dtype=dtype)
        self.dtype = dtype

    def cast_input(self, x: Tensor) -> Tensor:
        return x.to(self.device, self.dtype)  # `device` is kept by the ModelPatcher; weights may be elsewhere

    def decode_output_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return shape[0], 3, *clip_size(*shape[2:])

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
        """Tiles in latent units. Time is never tiled, whatever tile_t: the causal decoders bound it already."""
        tile = tile_y, tile_x
        count = count_tiles(z.shape[-2:], tile, overlap)
        callbacks = iter(make_tile_callbacks(callback or make_progress_callback(), count))
        return map_tiles(lambda part: self.decode(part, next(callbacks), phase), z.cpu(), tile, overlap, (8, 1))
