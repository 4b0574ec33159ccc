"""Rendered clips in memory, of which the VAE's batches are cut at random."""

from collections.abc import Iterator
from concurrent.futures import Executor
from functools import partial

import torch
from torch import Tensor

from .clips import dequantize, quantize, render_draft, render_patch, render_whole
from .rendering import AHEAD, Clips, render_ahead, split_evenly

ClipPool = Tensor
"""uint8 [N, 3, F, H, W], where the VAE is trained."""

AT_ONCE = 32
RENDER = {"draft": render_draft, "patch": render_patch, "whole": render_whole}


def render_pool(kind: str, count: int, renderers: Executor | None = None, ahead: int = AHEAD) -> Iterator[Clips]:
    """The first `count` training clips in 0..255, some at a time: drafts, patches or whole ones."""
    return render_ahead(partial(render_quantized, kind=kind), split_evenly(range(count), AT_ONCE), renderers, ahead)


def join_pool(clips: Iterator[Clips], device: torch.device | str = "cpu") -> ClipPool:
    """What is rendered, on the device."""
    return torch.cat([group["clip"] for group in clips]).to(device)


def choose_crops(pool: ClipPool, size: tuple[int, int], frames: int, count: int, generator: torch.Generator) -> Tensor:
    """Crops [count, 3, frames, h, w] in -1..1, each from any clip, time and place."""
    chosen = []
    for _ in range(count):
        index, *start = (
            int(torch.randint(n, (), generator=generator))
            for n in (len(pool), *(a - b + 1 for a, b in zip(pool.shape[2:], (frames, *size), strict=True)))
        )
        t, y, x = (slice(a, a + b) for a, b in zip(start, (frames, *size), strict=True))
        chosen.append(pool[index, :, t, y, x])
    return dequantize(torch.stack(chosen))


def render_quantized(index: int, kind: str) -> Clips:
    """A training clip in 0..255."""
    return {"clip": quantize(RENDER[kind](index))}
