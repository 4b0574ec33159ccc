"""An experiment that was not taken up: tiles whose group norms take the statistics of more than their own tile.

`averaged` over a first pass of all tiles takes hardly anything of the seams; those of the whole decode take most of
them, but summed layer by layer over the tiles all tiles' maps would have to wait on the host, where chunks of a frame
could wait as well, which leave no seam (docs/benchmarks.md).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flashvideo_core.tiling import map_tiles

Moments = tuple[Tensor, Tensor]
"""Mean and variance of each group of a norm's input, [B, groups] each."""

Statistics = dict[nn.Module, list[Moments]]
"""By norm, in the order in which it was called: once for each temporal group of frames."""


@contextmanager
def hook_norms(vae: nn.Module, hook: Callable[[nn.GroupNorm, Tensor], Tensor | None]) -> Iterator[None]:
    """`hook(norm, x) -> output or None` follows every group norm of the decoder."""
    layers = [layer for layer in vae.decoder.modules() if isinstance(layer, nn.GroupNorm)]
    handles = [layer.register_forward_hook(lambda norm, args, out: hook(norm, args[0])) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def decode_and_record(vae: nn.Module, z: Tensor) -> tuple[Tensor, Statistics]:
    """The frames of z, and the statistics that its norms had."""
    statistics: Statistics = {}

    def record(norm: nn.GroupNorm, x: Tensor) -> None:
        groups = x.unflatten(1, (norm.num_groups, -1)).flatten(2)
        statistics.setdefault(norm, []).append((groups.mean(-1), groups.var(-1, correction=0)))

    with hook_norms(vae, record):
        return vae.decode(z), statistics


def average_statistics(vae: nn.Module, z: Tensor, tile: tuple[int, int], overlap: int) -> Statistics:
    """Of each norm over all tiles, each decoded with its own."""
    recorded = []

    def decode(z_tile: Tensor) -> Tensor:
        frames, statistics = decode_and_record(vae, z_tile)
        recorded.append(statistics)
        return frames

    map_tiles(decode, z, tile, overlap, (8, 1))
    return {norm: [pool_moments(m) for m in zip(*(s[norm] for s in recorded), strict=True)] for norm in recorded[0]}


def pool_moments(moments: tuple[Moments, ...]) -> Moments:
    """Of equally large sets taken together."""
    means, variances = (torch.stack(x) for x in zip(*moments, strict=True))
    mean = means.mean(0)
    return mean, (variances + means.square()).mean(0) - mean.square()


def decode_with_statistics(vae: nn.Module, statistics: Statistics) -> Callable[[Tensor], Tensor]:
    """vae.decode whose norms use recorded statistics in place of their own."""

    def decode(z: Tensor) -> Tensor:
        left = {norm: iter(moments) for norm, moments in statistics.items()}

        def normalize(norm: nn.GroupNorm, x: Tensor) -> Tensor:
            mean, var = (s.repeat_interleave(x.shape[1] // norm.num_groups, dim=1) for s in next(left[norm]))
            flat = x.flatten(0, 1)[None]
            y = F.batch_norm(flat, mean.flatten(), var.flatten(), eps=norm.eps)[0].view_as(x)
            shape = (1, -1, *[1] * (x.ndim - 2))
            return y * norm.weight.view(shape) + norm.bias.view(shape)

        with hook_norms(vae, normalize):
            return vae.decode(z)

    return decode
