"""Spatial tiles with blended overlap over a given function, and the released hard-cut strips.

The VAE does not know that it is tiled.
"""

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

from .errors import InputError
from .types import OnTile
from .vae import VAE

RELEASED_OVERLAP = 16  # latent columns of context that each strip gets


@torch.no_grad()
def decode_released_strips(vae: VAE, z: Tensor) -> Tensor:
    """The released decode: two width strips with 16 latent columns of context, cut hard in the middle.

    z [B, 16, T, H, W] -> frames [B, 3, 4T-3, 8H, 8W]. For comparison only: the seam shows, because group
    norm statistics are those of each strip (docs/released-model.md 3.10, save_mem_decode).
    """
    w = z.shape[-1]
    middle, scale = w // 2, 8
    stop = middle + RELEASED_OVERLAP if middle + RELEASED_OVERLAP <= w else middle
    start = middle - RELEASED_OVERLAP if middle - RELEASED_OVERLAP >= 0 else middle
    left = vae.decode(z[..., :stop])[..., : middle * scale]
    right = vae.decode(z[..., start:])[..., (middle - start) * scale :]
    return torch.cat([left, right], dim=-1)


def map_tiles(
    function: Callable[[Tensor], Tensor],
    x: Tensor,
    tile: tuple[int, int],
    overlap: int,
    scale: tuple[int, int] = (1, 1),
    on_tile: OnTile | None = None,
) -> Tensor:
    """function over tiles of the last two axes of x, blended linearly where they overlap.

    tile (height, width) and overlap are in x's units; the output is scale[0] / scale[1] times as large (8, 1
    for a decode; 1, 8 for an encode, whose sizes are multiples of 8). The result is float32 on x's device.
    """
    up, down = scale
    rows, columns = (split_axis(x.shape[axis], tile[axis], overlap, down) for axis in (-2, -1))
    out, total = None, None
    for done, ((top, bottom), (left, right)) in enumerate(product(rows, columns), 1):
        y = function(x[..., top:bottom, left:right]).to(x.device, torch.float32)
        if out is None:
            height, width = x.shape[-2] * up // down, x.shape[-1] * up // down
            out, total = y.new_zeros(*y.shape[:-2], height, width), y.new_zeros(height, width)
        fade = overlap * up // down
        weight = blend_weights(y.shape[-2], fade, top > 0, bottom < x.shape[-2])[:, None]
        weight = (weight * blend_weights(y.shape[-1], fade, left > 0, right < x.shape[-1])).to(y)
        first_row, first_column = top * up // down, left * up // down
        window = (..., slice(first_row, first_row + y.shape[-2]), slice(first_column, first_column + y.shape[-1]))
        out[window] += y * weight
        total[window] += weight
        if on_tile is not None:
            on_tile(done, len(rows) * len(columns))
    return out.div_(total)


def split_axis(size: int, tile: int, overlap: int, unit: int = 1) -> list[tuple[int, int]]:
    """Ranges of `tile` that cover `size`, evenly laid, neighbours sharing at least `overlap`; all in multiples of unit.

    One tile that covers all of it has no neighbour, and its overlap no say. Raises InputError for another whose overlap
    is not smaller than itself.
    """
    size, tile, overlap = size // unit, tile // unit, overlap // unit
    if tile >= size:
        return [(0, size * unit)]
    if tile <= overlap:
        raise InputError(f"a tile of {tile} cannot overlap by {overlap}; the overlap must be smaller")
    count = -(-(size - overlap) // (tile - overlap))
    starts = [round(i * (size - tile) / (count - 1)) for i in range(count)]
    return [(start * unit, (start + tile) * unit) for start in starts]


def count_tiles(size: tuple[int, int], tile: tuple[int, int], overlap: int, unit: int = 1) -> int:
    """How many tiles cover size (height, width); arguments as of `split_axis`."""
    rows, columns = (len(split_axis(*sides, overlap, unit)) for sides in zip(size, tile, strict=True))
    return rows * columns


def blend_weights(size: int, overlap: int, fade_in: bool, fade_out: bool) -> Tensor:
    """Weights [size]: 1 inside, rising from and falling to the edges that another tile covers."""
    weights = torch.ones(size)
    slope = (torch.arange(overlap) + 0.5) / max(1, overlap)
    if fade_in and overlap:
        weights[:overlap] = slope
    if fade_out and overlap:
        weights[-overlap:] = torch.minimum(weights[-overlap:], slope.flip(0))
    return weights
