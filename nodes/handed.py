"""The draft that a latent was handed off from, beside the latent in ComfyUI's LATENT.

Thumbnails are enough to say how far a refined clip is from its draft and to take colours from it (faithful.py). They
belong to the very samples that they were put beside: what another node makes of those (another size, an item of another
batch, a sampler of its own) has no draft, rather than the wrong one.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .bridge.types import Latent

KEY = "flashvideo_draft"


@dataclass(frozen=True)
class HandedDraft:
    """thumbnails [B*F, rows, columns, 3] in 0..1 of the drafts of samples [B, 16, T, H, W]."""

    samples: Tensor
    thumbnails: Tensor


def put_draft(samples: Tensor, thumbnails: list[Tensor]) -> Latent:
    """A latent with thumbnails [F, rows, columns, 3] of the draft of each of its items."""
    return {"samples": samples, KEY: HandedDraft(samples, torch.cat(thumbnails))}


def find_draft(latent: Latent) -> Tensor | None:
    """The thumbnails of all its items, if a latent is as it was when they were put beside it."""
    handed = latent.get(KEY)
    return handed.thumbnails if handed is not None and handed.samples is latent["samples"] else None


def replace_samples(latent: Latent, samples: Tensor) -> Latent:
    """The latent with the samples that stage 2 has made of its own, and the same drafts."""
    others = {name: value for name, value in latent.items() if name != KEY}
    draft = find_draft(latent)
    return {**others, **({} if draft is None else put_draft(samples, [draft])), "samples": samples}
