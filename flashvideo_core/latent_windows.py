"""Latent windows: overlapping parts of a latent that the network sees one at a time, in one state of the whole clip.

Every evaluation goes over all windows, and their velocities are averaged with ramps where they overlap, so that the
parts agree after each step and none is sampled by itself (MultiDiffusion, arXiv 2302.08113, section 3). The rest of a
sampler does not know: a function from a latent to its velocity stays one. A latent no larger than a window goes through
as it is.

The first latent frame that the network sees stands for one frame of the clip, each other for four. A window that starts
inside a clip has an ordinary one there: it is taken for context, and what the network says of it is thrown away, since
the window before says it better (measured, docs/long-videos.md). Positions count from the window's first frame.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise, product

import torch
from torch import Tensor

from .errors import InputError
from .tiling import split_axis
from .types import DrawNoise, OnTile, ProgressCallback, Velocity

PATCH = 2  # rows and columns of a token: windows start between two of them
CONTEXT = 1  # latent frames with which a window begins that starts inside a clip, and whose velocity counts nothing
AXES = ("latent frames", "latent rows", "latent columns")

Range = tuple[int, int]
"""start, stop of a window along one axis."""


@dataclass(frozen=True)
class LatentWindows:
    """Windows of a size (T, H, W), None along an axis that is not divided; neighbours share at least the overlap.

    Raises InputError for an overlap that is not smaller than the size, and rows or columns that are not even.
    """

    size: tuple[int | None, int | None, int | None]
    overlap: tuple[int, int, int]

    def __post_init__(self) -> None:
        for axis, size, overlap in zip(AXES, self.size, self.overlap, strict=True):
            if size is not None and not 0 <= overlap < size:
                raise InputError(f"windows of {size} {axis} overlap by {overlap}; it must be 0 to {size - 1}")
        if odd := [side for side in (*self.size[1:], *self.overlap[1:]) if side is not None and side % PATCH]:
            raise InputError(
                f"a window or overlap has {odd[0]} latent rows or columns; it must be a multiple of {PATCH}"
            )

    def fit(self, latent: tuple[int, int, int]) -> tuple[int, int, int]:
        """(T, H, W) of one window of a latent (T, H, W)."""
        return tuple(side if size is None else min(size, side) for size, side in zip(self.size, latent, strict=True))

    def split(self, latent: tuple[int, int, int]) -> tuple[list[Range], list[Range], list[Range]]:
        """The windows of a latent (T, H, W) along each axis: evenly laid, all of one size, none beyond a border."""
        units = (1, *(PATCH if side % PATCH == 0 else 1 for side in latent[1:]))
        return tuple(map(split_axis, latent, self.fit(latent), self.overlap, units))

    def count(self, latent: tuple[int, int, int]) -> int:
        """How many windows there are in a latent (T, H, W)."""
        frames, rows, columns = self.split(latent)
        return len(frames) * len(rows) * len(columns)


def map_windows(
    function: Callable[[Tensor], Tensor],
    x: Tensor,
    windows: LatentWindows,
    device: torch.device | None = None,
    on_window: OnTile | None = None,
) -> Tensor:
    """function, of a part [B, 16, t, h, w] like that part, over the windows of x [B, 16, T, H, W]: their mean, like x.

    The parts are taken to `device`, so that a long clip's state can stay on the host. One window gives function(x).
    """
    axes = windows.split(tuple(x.shape[2:]))
    weights = map(ramp_weights, axes, (CONTEXT, 0, 0))
    places = list(product(*(zip(*axis, strict=True) for axis in zip(axes, weights, strict=True))))
    if len(places) == 1:
        return function(x.to(device or x.device)).to(x.device)
    out = torch.zeros_like(x)
    for done, place in enumerate(places, 1):
        part = (..., *(slice(*ranges) for ranges, _ in place))
        frames, rows, columns = (weights.to(x) for _, weights in place)
        y = function(x[part].to(device or x.device)).to(x.device)
        out[part] += y * (frames[:, None, None] * rows[:, None] * columns)
        if on_window is not None:
            on_window(done, len(places))
    return out


def bind_latent_windows(
    velocity: Velocity,
    times: Tensor,
    windows: LatentWindows,
    device: torch.device,
    callback: ProgressCallback | None = None,
) -> Velocity:
    """stage 2's velocity over windows of a state that may be on another device; times [n + 1] are the sampler's.

    Each window is a step of progress, the last of an evaluation that of the sampler, which has a preview.
    """
    grid = times.tolist()

    def velocity_of_windows(x: Tensor, t: float) -> Tensor:
        def on_window(done: int, total: int) -> None:
            if callback is not None and done < total:
                callback("stage2", grid.index(t) * total + done, (len(grid) - 1) * total, None)

        return map_windows(lambda part: velocity(part, t), x, windows, device, on_window)

    return velocity_of_windows


def ramp_weights(ranges: list[Range], context: int = 0) -> list[Tensor]:
    """The weights of each range of an axis, whose sum is 1 everywhere: linear ramps over what neighbours share, of
    which the later one has no say in the first `context`."""
    weights = [torch.ones(stop - start) for start, stop in ranges]
    for left, right, (start, stop) in zip(weights, weights[1:], find_shared(ranges), strict=False):
        shared = stop - start
        ramp = ((torch.arange(shared) - context + 0.5) / max(1, shared - context)).clamp(min=0)
        right[:shared] *= ramp
        left[len(left) - shared :] *= 1 - ramp
    total = torch.zeros(ranges[-1][1])
    for weight, (start, stop) in zip(weights, ranges, strict=True):
        total[start:stop] += weight
    return [weight / total[start:stop] for weight, (start, stop) in zip(weights, ranges, strict=True)]


def find_shared(ranges: list[Range]) -> list[Range]:
    """What each range shares with the next one."""
    return [(start, stop) for (_, stop), (start, _) in pairwise(ranges)]


def draw_in_blocks(draw_noise: DrawNoise, z: Tensor, frames: int) -> Tensor:
    """Noise like z [B, 16, T, H, W], drawn in blocks of so many latent frames, of which the last is drawn whole, too.

    What a frame gets then does not depend on how long the clip is, where one draw of all frames is in the order of
    channels first. A clip no longer than a block gets that one draw.
    """
    if z.shape[2] <= frames:
        return draw_noise(z)
    block = z[:, :, :1].expand(-1, -1, frames, -1, -1)
    blocks = [draw_noise(block) for _ in range(-(-z.shape[2] // frames))]
    return torch.cat(blocks, dim=2)[:, :, : z.shape[2]]
