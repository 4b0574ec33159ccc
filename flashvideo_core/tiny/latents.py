"""The latents of rendered clips, and the references that stage 2 starts from. Everything is a function of the index."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..handoff import prepare_reference
from ..training.degradation import Degradation, degrade, make_draft
from ..training.device import get_device, is_bf16_fast
from ..vae import VAE
from .clips import render_draft, render_patch, render_whole

Latents = dict[str, Tensor]
"""Latents [16, T, H/8, W/8] float16 of one clip by name ("z", "z_ref", ...), or tables [N, ...] of many."""

MakeLatents = Callable[[int], Latents]
"""make_latents(index) -> the latents of training clip `index`."""

RenderClip = Callable[[int], Tensor]
"""render_clip(index) -> training clip `index`, [3, F, H, W] in -1..1."""


def encode_draft(vae: VAE, index: int) -> Latents:
    """The clip at draft size: what stage 1 learns to draw."""
    return {"z": encode_clip(vae, render_draft(index))}


def encode_pair(vae: VAE, index: int) -> Latents:
    """The clip at full size, and the reference that its degraded draft gives: what stage 2 learns to join.

    The draft is the full clip reduced by area averaging, so that both show the same scene exactly.
    """
    return _encode_pair(vae, render_whole(index), index)


def encode_patch_pair(vae: VAE, index: int) -> Latents:
    """The same of a quarter of the picture around the shape: four times as many scenes for the time.

    A patch's latents differ from those of the whole picture by about 1 % (group norm statistics; measured).
    """
    return _encode_pair(vae, render_patch(index), index)


def encode_decoded(vae: VAE, render_clip: RenderClip, index: int) -> Latents:
    """The clip's latent z, and the `frames` [3, F, H, W] in -1..1 that the VAE makes of it: what a small decoder learns
    to show."""
    z = encode_clip(vae, render_clip(index))
    return {"z": z, "frames": decode_clip(vae, z)}


@torch.no_grad()
def _encode_pair(vae: VAE, clip: Tensor, index: int) -> Latents:
    """Of four drafts one is degraded, one comes from the VAE and is degraded, and two come from the VAE.

    What stage 1 draws has been through the VAE, and a tiny one blurs a draft more than any degradation does.
    """
    draft = make_draft(clip, get_draft_size(clip))
    if index % 4:
        draft = vae.decode(encode_clip(vae, draft)[None].float())[0].to(draft)
    if index % 4 < 2:
        draft = degrade(draft, Degradation(), torch.Generator().manual_seed(index))
    return {"z": encode_clip(vae, clip), "z_ref": encode_reference(vae, draft)}


def get_draft_size(clip: Tensor) -> tuple[int, int]:
    """(height, width) of the draft of a clip [3, F, H, W]."""
    return clip.shape[-2] // 4, clip.shape[-1] // 4


def encode_reference(vae: VAE, draft: Tensor) -> Tensor:
    """What the hand-off makes of a draft [3, F, h, w]: the latent [16, T, h/2, w/2] of it at four times the size."""
    return encode_clip(vae, draft, (4 * draft.shape[-2], 4 * draft.shape[-1]))


def encode_clip(vae: VAE, clip: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """A clip [3, F, h, w] in -1..1, at `size` (height, width) if given, as the hand-off does it: [16, T, H/8, W/8]."""
    kind = get_device(vae).type
    with torch.autocast(kind, dtype=torch.bfloat16, enabled=is_bf16_fast(kind)):
        return prepare_reference(frames=clip[None], vae=vae, size=size or tuple(clip.shape[-2:]))[0].half()


@torch.no_grad()
def decode_clip(vae: VAE, z: Tensor) -> Tensor:
    """A latent [16, T, h, w] -> the VAE's clip [3, 4T-3, 8h, 8w] in -1..1, float16."""
    kind = get_device(vae).type
    with torch.autocast(kind, dtype=torch.bfloat16, enabled=is_bf16_fast(kind)):
        return vae.decode(z[None].float())[0].half()
