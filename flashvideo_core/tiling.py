"""Spatial tiles with blended overlap over a given function, and the released hard-cut strips.

The VAE does not know that it is tiled.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from .errors import InputError

RELEASED_OVERLAP = 16  # latent columns of context that each strip gets


@torch.no_grad()
def decode_released_strips(vae, z: Tensor) -> Tensor:
    """The released decode: two width strips with 16 latent columns of context, cut hard in the middle.

    z [B, 16, T, H, W] -> frames [B, 3, 4T-3, 8H, 8W]. For comparison only: the seam shows, because group
    norm statistics are those of each strip (golden README 3.10, save_mem_decode).
    """
    w = z.shape[-1]
    middle, scale = w // 2, 8
    stop = middle + RELEASED_OVERLAP if middle + RELEASED_OVERLAP <= w else middle
    start = middle - RELEASED_OVERLAP if middle - RELEASED_OVERLAP >= 0 else middle
    left = vae.decode(z[..., :stop])[..., : middle * scale]
    right = vae.decode(z[..., start:])[..., (middle - start) * scale :]
    return torch.cat([left, right], dim=-1)


def spans(size: int, tile: int, overlap: int) -> list[tuple[int, int]]:
    """Ranges of `tile` that cover `size` with at least `overlap` shared between neighbours, evenly laid."""
    if tile <= overlap:
        raise InputError(f"a tile of {tile} cannot overlap by {overlap}; the overlap must be smaller")
    if tile >= size:
        return [(0, size)]
    count = -(-(size - overlap) // (tile - overlap))
    starts = [round(i * (size - tile) / (count - 1)) for i in range(count)]
    return [(start, start + tile) for start in starts]


def tiled(
    function: Callable[[Tensor], Tensor],
    x: Tensor,
    tile: tuple[int, int],
    overlap: int,
    scale: tuple[int, int] = (1, 1),
    on_tile: Callable[[int, int], None] | None = None,
) -> Tensor:
    """function over tiles of the last two axes of x, blended linearly where they overlap.

    tile (height, width) and overlap are in x's units; the output is scale[0] / scale[1] times as large (8, 1
    for a decode; 1, 8 for an encode, whose sizes are multiples of 8). The result is float32 on x's device.
    """
    up, down = scale
    rows, cols = (_aligned(x.shape[i], tile[i], overlap, down) for i in (-2, -1))
    out, weight = None, None
    for done, (top, bottom, left, right) in enumerate(_grid(rows, cols), 1):
        y = function(x[..., top:bottom, left:right]).to(x.device, torch.float32)
        if out is None:
            height, width = x.shape[-2] * up // down, x.shape[-1] * up // down
            out, weight = y.new_zeros(*y.shape[:-2], height, width), y.new_zeros(height, width)
        ramp = _ramp(y.shape[-2], overlap * up // down, top > 0, bottom < x.shape[-2])[:, None] * _ramp(
            y.shape[-1], overlap * up // down, left > 0, right < x.shape[-1]
        )
        place = (
            ...,
            *(slice(a * up // down, a * up // down + n) for a, n in zip((top, left), y.shape[-2:], strict=True)),
        )
        out[place] += y * ramp.to(y)
        weight[place] += ramp.to(y)
        if on_tile is not None:
            on_tile(done, len(rows) * len(cols))
    return out.div_(weight)


def _aligned(size: int, tile: int, overlap: int, unit: int) -> list[tuple[int, int]]:
    """Spans whose ends are multiples of `unit`, so that every tile starts on an output pixel."""
    return [(a * unit, b * unit) for a, b in spans(size // unit, tile // unit, overlap // unit)]


def _grid(rows: list[tuple[int, int]], cols: list[tuple[int, int]]) -> Iterator[tuple[int, int, int, int]]:
    return ((*row, *col) for row in rows for col in cols)


def _ramp(size: int, overlap: int, fade_in: bool, fade_out: bool) -> Tensor:
    """Weights [size]: 1 inside, rising from and falling to the edges that another tile covers."""
    ramp = torch.ones(size)
    slope = (torch.arange(overlap) + 0.5) / max(1, overlap)
    if fade_in and overlap:
        ramp[:overlap] = slope
    if fade_out and overlap:
        ramp[-overlap:] = torch.minimum(ramp[-overlap:], slope.flip(0))
    return ramp
