"""How far tiles show: gradients across their seams, and how they differ from the decode of the whole picture.

Frames are [B, 3, F, H, W] in -1..1; a seam is a zone (start, stop) of columns, or of rows of the transposed frames, in
which one tile gives way to the next; a hard cut is a zone of no width.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..memory import SHARE, plan_vae, tile_overlap, vae_peak
from ..tiling import decode_released_strips, spans, tiled
from ..vae_chunks import WHOLE, ChunkSize

Zones = list[tuple[int, int]]
NEAR = range(2, 9)  # columns from a seam's line, on both sides, that it is compared with
STRIP = 16  # pixels on each side of a zone whose means are compared
LEVELS = 127.5  # of 8 bits, in a unit of the frames' range


@torch.no_grad()
def seams(vae: nn.Module, z: Tensor) -> dict[str, dict[str, float]]:
    """Decodes z [B, 16, T, H, W] whole and in every way that takes less memory; figures by way (see `figures`).

    parts: ours where a frame fits, feature maps of a frame at a time. tiles: ours below that, blended, laid as the
    plan does. hard: the released strips. Two ways that are tried here alone: twice, the same tiles with the mean
    statistics of a first pass over them; shared, with those of the whole decode, which statistics summed over the
    tiles layer by layer would be. All but parts see the first frame alone, whose maps are one part.
    """
    clip, z = z, z[:, :, :1]
    height, width = z.shape[-2:]
    tile = largest_split(vae.config, (8 * height, 8 * width))
    overlap = tile_overlap(tile)
    statistics: dict[nn.Module, list] = {}
    with norms(vae, recorder(statistics)):
        whole = vae.decode(z)
    rows, cols = (zones(side, part, overlap) for side, part in zip((height, width), tile, strict=True))
    found = {"hard": figures(decode_released_strips(vae, z), whole, [], [(4 * (width // 2 * 2),) * 2])}
    found["tiles"] = figures(tiled(vae.decode, z, tile, overlap, (8, 1)), whole, rows, cols)
    by_frame, by_group = (vae.decode(clip, chunk_size=ChunkSize(n, 0)) for n in (64 * height * width, WHOLE))
    found["parts"] = figures(by_frame, by_group, rows, cols)
    for name, known in {"twice": first_pass(vae, z, tile, overlap), "shared": statistics}.items():
        y = tiled(with_statistics(vae, known), z, tile, overlap, (8, 1))
        found[name] = figures(y, whole, rows, cols)
    return found


def first_pass(vae: nn.Module, z: Tensor, tile: tuple[int, int], overlap: int) -> dict[nn.Module, list]:
    """Statistics of each norm over all tiles, each decoded with its own."""
    tiles = []

    def decode(piece: Tensor) -> Tensor:
        tiles.append({})
        with norms(vae, recorder(tiles[-1])):
            return vae.decode(piece)

    tiled(decode, z, tile, overlap, (8, 1))
    return {norm: [joined(parts) for parts in zip(*(t[norm] for t in tiles), strict=True)] for norm in tiles[0]}


def joined(parts: tuple[tuple[Tensor, Tensor], ...]) -> tuple[Tensor, Tensor]:
    """Mean and variance of equally large parts taken together."""
    means, variances = (torch.stack(x) for x in zip(*parts, strict=True))
    mean = means.mean(0)
    return mean, (variances + means.square()).mean(0) - mean.square()


def largest_split(config, size: tuple[int, int]) -> tuple[int, int]:
    """The plan's tile (height, width) of a decode whose parts of a frame are just too large for the memory."""
    what = (config, "decode", (1, *size), torch.float32, torch.device("cpu"))
    return plan_vae(*what, int(0.99 * vae_peak(*what, size[0] * size[1]) / SHARE)).cut


def zones(size: int, tile: int, overlap: int) -> Zones:
    """Where neighbouring tiles of an axis are blended, in pixels."""
    laid = spans(size, tile, overlap)
    return [(8 * start, 8 * stop) for (_, stop), (start, _) in pairwise(laid)]


def figures(y: Tensor, whole: Tensor, rows: Zones, cols: Zones) -> dict[str, float]:
    """gradient: the ratio of `gradient_ratio` less that of the whole decode, 0 where no seam shows; step: by how many
    levels of 8 bits the difference from the whole decode jumps from one side of a zone to the other; difference: its
    root mean square in the same levels."""
    pairs = [(y, whole, zone) for zone in cols] + [(y.mT, whole.mT, zone) for zone in rows]
    gradient = [gradient_ratio(a, zone) - gradient_ratio(b, zone) for a, b, zone in pairs]
    steps = [step(a - b, zone) for a, b, zone in pairs]
    rms = (y - whole).square().mean().sqrt()
    return {
        "gradient": sum(gradient) / len(pairs),
        "step": LEVELS * sum(steps) / len(pairs),
        "difference": LEVELS * float(rms),
    }


def gradient_ratio(frames: Tensor, zone: tuple[int, int]) -> float:
    """Mean gradient across the zone's first, middle and last column over the mean gradient nearby."""
    start, stop = zone
    gradient = frames.diff(dim=-1).abs().mean(dim=(0, 1, 2, 3))  # [i]: from column i to column i + 1
    lines = sorted({start - 1, (start + stop) // 2 - 1, stop - 1})
    near = [line + side * d for line in lines for d in NEAR for side in (-1, 1)]
    near = [i for i in near if 0 <= i < len(gradient) and i not in lines]
    return float(gradient[lines].mean() / gradient[near].mean())


def step(difference: Tensor, zone: tuple[int, int]) -> float:
    """Mean size of the change, along every row, from the strip before the zone to the strip after it."""
    start, stop = zone
    before, after = difference[..., max(0, start - STRIP) : start], difference[..., stop : stop + STRIP]
    return float((after.mean(-1) - before.mean(-1)).abs().mean())


@contextmanager
def norms(vae: nn.Module, hook: Callable) -> Iterator[None]:
    """`hook(norm, x) -> output or None` follows every group norm of the decoder."""
    layers = [layer for layer in vae.decoder.modules() if isinstance(layer, nn.GroupNorm)]
    handles = [layer.register_forward_hook(lambda norm, args, out: hook(norm, args[0])) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def recorder(statistics: dict[nn.Module, list]) -> Callable:
    """A hook that keeps mean and variance of each norm's groups, one pair for each temporal group of frames."""

    def keep(norm: nn.GroupNorm, x: Tensor) -> None:
        groups = x.unflatten(1, (norm.num_groups, -1)).flatten(2)
        found = groups.mean(-1), groups.var(-1, correction=0)
        statistics.setdefault(norm, []).append(found)

    return keep


def with_statistics(vae: nn.Module, statistics: dict[nn.Module, list]) -> Callable[[Tensor], Tensor]:
    """vae.decode whose norms use recorded statistics in place of their own."""

    def decode(z: Tensor) -> Tensor:
        left = {norm: iter(found) for norm, found in statistics.items()}

        def normalise(norm: nn.GroupNorm, x: Tensor) -> Tensor:
            mean, var = (s.repeat_interleave(x.shape[1] // norm.num_groups, dim=1) for s in next(left[norm]))
            flat = x.flatten(0, 1)[None]
            y = F.batch_norm(flat, mean.flatten(), var.flatten(), eps=norm.eps)[0].view_as(x)
            shape = (1, -1, *[1] * (x.ndim - 2))
            return y * norm.weight.view(shape) + norm.bias.view(shape)

        with norms(vae, normalise):
            return vae.decode(z)

    return decode
