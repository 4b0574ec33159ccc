"""Rendered clips in memory, of which the VAE's batches are cut at random."""

from concurrent.futures import Executor
from functools import partial

import torch
from torch import Tensor

from .clips import render_draft, render_patch, render_whole
from .rendering import Clips, render_ahead

ClipPool = Tensor
"""uint8 [N, 3, F, H, W], where the VAE is trained."""

RENDER = {"draft": render_draft, "patch": render_patch, "whole": render_whole}


def render_pool(
    kind: str, count: int, device: torch.device | str = "cpu", renderers: Executor | None = None
) -> ClipPool:
    """The first `count` training clips: drafts, patches or whole ones."""
    clips = render_ahead(partial(render_quantized, kind=kind), [[index] for index in range(count)], renderers)
    return torch.cat([clip["clip"] for clip in clips]).to(device)


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
    return torch.stack(chosen).float() / 127.5 - 1


def render_quantized(index: int, kind: str) -> Clips:
    """A training clip in 0..255."""
    return {"clip": ((RENDER[kind](index) + 1) * 127.5).round().to(torch.uint8)}
