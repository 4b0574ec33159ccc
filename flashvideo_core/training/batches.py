"""What a step trains on: a batch sampled from the cache by a generator and a phase of the curriculum.

A batch holds clips of one length: one-frame clips (pictures) or whole ones, of the full size or as patches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .cache import CachedClip, read_tensor
from .curriculum import CurriculumPhase
from .losses import ALL_ITEMS

Crop = tuple[slice, slice, slice, slice]
"""Channels, latent frames, rows and columns of a latent."""


@dataclass(frozen=True)
class Batch:
    """Items that another process computes are zeros: their files are not read."""

    z: Tensor  # [B, 16, T, h, w] float32 in VAE units
    z_ref: Tensor | None  # the same of the reference; None for stage 1
    txt: Tensor  # [B, L, text_dim] float32
    ref_step: int  # the noise step of stage 2


@dataclass(frozen=True)
class _Item:
    """One clip of a batch before it is read: its latents' files (z, and a reference in stage 2), crop and caption."""

    files: tuple[Path, ...]
    crop: Crop
    txt: Path


def sample_batch(
    clips: Sequence[CachedClip],
    phase: CurriculumPhase,
    batch_size: int,
    patch: tuple[int, int],
    ref_step: int,
    generator: torch.Generator,
    items: slice = ALL_ITEMS,
) -> Batch:
    """A batch of `batch_size` clips; patch (height, width) in latents, ref_step the noise step of the weights.

    items: those that this process computes, and so reads; what is sampled does not depend on them.
    """
    one_frame = sample_one_frame(clips, phase, generator)
    pool = _choose_pool(clips, one_frame)
    chosen = [pool[i] for i in torch.randint(len(pool), (batch_size,), generator=generator).tolist()]
    sampled = [_sample_item(clip, phase, one_frame, patch, generator) for clip in chosen]
    low, high = (min(max(ref_step + offset, 0), 999) for offset in phase.noise)
    step = int(torch.randint(low, high + 1, (), generator=generator))
    return _read_batch(sampled, items, step)


def _choose_pool(clips: Sequence[CachedClip], one_frame: bool) -> list[CachedClip]:
    """What a batch is sampled from: pictures, where there are any; first frames of all clips; or clips alone."""
    if one_frame and any(clip.frames == 1 for clip in clips):
        return [clip for clip in clips if clip.frames == 1]
    return [clip for clip in clips if one_frame or clip.frames > 1]


def _sample_item(
    clip: CachedClip, phase: CurriculumPhase, one_frame: bool, patch: tuple[int, int], generator: torch.Generator
) -> _Item:
    crop = sample_crop(clip, phase, one_frame, patch, generator)
    if not clip.refs:
        return _Item((clip.z,), crop, clip.txt)
    ref = clip.refs[int(torch.randint(len(clip.refs), (), generator=generator))]
    return _Item((clip.z, ref), crop, clip.txt)


def _read_batch(sampled: Sequence[_Item], items: slice, ref_step: int) -> Batch:
    """Reads the items of this process and leaves the others zero."""
    latents = [torch.stack([read_tensor(file, item.crop) for file in item.files]) for item in sampled[items]]
    pairs = scatter_items(latents, len(sampled), items).transpose(0, 1)
    txt = scatter_items([read_tensor(item.txt) for item in sampled[items]], len(sampled), items)
    return Batch(pairs[0], pairs[1] if len(pairs) > 1 else None, txt, ref_step)


def scatter_items(tensors: Sequence[Tensor], batch_size: int, items: slice) -> Tensor:
    """The tensors [...] as the `items` of a batch [batch_size, ...], the others zeros."""
    out = tensors[0].new_zeros(batch_size, *tensors[0].shape)
    out[items] = torch.stack(list(tensors))
    return out


def sample_one_frame(clips: Sequence[CachedClip], phase: CurriculumPhase, generator: torch.Generator) -> bool:
    """Whether the batch is one of one-frame clips. Data without pictures give their clips' first frames instead."""
    share = sum(clip.frames == 1 for clip in clips) / len(clips)
    probability = share if phase.pictures is None or share == 1 else phase.pictures
    return torch.rand((), generator=generator).item() < probability


def sample_crop(
    clip: CachedClip, phase: CurriculumPhase, one_frame: bool, patch: tuple[int, int], generator: torch.Generator
) -> Crop:
    """What to read of a clip's latents. The first latent frame of a causal VAE is a picture's."""
    frames = slice(0, 1 if one_frame else clip.frames)
    if not phase.patches:
        return (slice(None), frames, slice(None), slice(None))
    corner = [
        int(torch.randint(side - p + 1, (), generator=generator)) for side, p in zip(clip.size, patch, strict=True)
    ]
    return (slice(None), frames, *(slice(start, start + p) for start, p in zip(corner, patch, strict=True)))
