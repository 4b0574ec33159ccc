"""Tiles of a VAE pass, with one progress bar over all of them."""

from typing import Protocol

from torch import Tensor

from ...flashvideo_core.tiling import count_tiles, map_tiles
from ...flashvideo_core.types import ProgressCallback
from .progress import make_progress_callback, make_tile_callbacks


class Decode(Protocol):
    """decode(z, callback, phase): a latent [B, 16, T, h, w] -> frames [B, 3, 4T-3, 8h, 8w]."""

    def __call__(self, z: Tensor, callback: ProgressCallback, phase: str, /) -> Tensor: ...


def decode_in_tiles(
    decode: Decode, z: Tensor, tile: tuple[int, int], overlap: int, callback: ProgressCallback | None, phase: str
) -> Tensor:
    """Tiles in latent units. Time is never tiled: the causal decoders go through it in groups already."""
    count = count_tiles(z.shape[-2:], tile, overlap)
    callbacks = iter(make_tile_callbacks(callback or make_progress_callback(), count))
    return map_tiles(lambda part: decode(part, next(callbacks), phase), z.cpu(), tile, overlap, (8, 1))
