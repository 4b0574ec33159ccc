"""How far a seam shows: gradients across it, and how tiled frames differ from those of the whole picture.

Frames are [B, 3, F, H, W] in -1..1; a seam is a zone (start, stop) of columns, or of rows of the transposed frames, in
which one tile gives way to the next; a hard cut is a zone of no width.
"""

from itertools import pairwise

from torch import Tensor

from flashvideo_core.tiling import split_axis

Zone = tuple[int, int]
NEAR = range(2, 9)  # columns from a seam's line, on both sides, that it is compared with
STRIP = 16  # pixels on each side of a zone whose means are compared
LEVELS = 127.5  # of 8 bits, in a unit of the frames' range


def find_zones(size: int, tile: int, overlap: int) -> list[Zone]:
    """Where neighbouring tiles of an axis are blended, in pixels; size, tile and overlap are in latent units."""
    return [(8 * start, 8 * stop) for (_, stop), (start, _) in pairwise(split_axis(size, tile, overlap))]


def measure_seams(frames: Tensor, whole: Tensor, rows: list[Zone], cols: list[Zone]) -> dict[str, float]:
    """Frames of tiles against the whole decode.

    gradient: the ratio of `gradient_ratio` less that of the whole decode, 0 where no seam shows; step: by how many
    levels of 8 bits the difference from the whole decode jumps from one side of a zone to the other; difference: its
    root mean square in the same levels.
    """
    pairs = [(frames, whole, zone) for zone in cols] + [(frames.mT, whole.mT, zone) for zone in rows]
    gradients = [gradient_ratio(a, zone) - gradient_ratio(b, zone) for a, b, zone in pairs]
    steps = [step_across(a - b, zone) for a, b, zone in pairs]
    rms = (frames - whole).square().mean().sqrt()
    return {
        "gradient": sum(gradients) / len(pairs),
        "step": LEVELS * sum(steps) / len(pairs),
        "difference": LEVELS * float(rms),
    }


def gradient_ratio(frames: Tensor, zone: Zone) -> float:
    """Mean gradient across the zone's first, middle and last column over the mean gradient nearby."""
    start, stop = zone
    gradient = frames.diff(dim=-1).abs().mean(dim=(0, 1, 2, 3))  # [i]: from column i to column i + 1
    lines = sorted({start - 1, (start + stop) // 2 - 1, stop - 1})
    near = [line + side * d for line in lines for d in NEAR for side in (-1, 1)]
    near = [i for i in near if 0 <= i < len(gradient) and i not in lines]
    return float(gradient[lines].mean() / gradient[near].mean())


def step_across(difference: Tensor, zone: Zone) -> float:
    """Mean size of the change, along every row, from the strip before the zone to the strip after it."""
    start, stop = zone
    before, after = difference[..., max(0, start - STRIP) : start], difference[..., stop : stop + STRIP]
    return float((after.mean(-1) - before.mean(-1)).abs().mean())
