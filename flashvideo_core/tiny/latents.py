"""The latents of rendered clips, and the references that stage 2 starts from. Everything is a function of the index."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..handoff import prepare_reference
from ..training.degradation import Degradation, degrade, make_draft
from ..training.device import get_device, is_bf16_fast
from ..vae import VAE
from .clips import dequantize, quantize, render_draft, render_patch, render_whole
from .rendering import Clips, RenderClips

Latents = dict[str, Tensor]
"""Latents [B, 16, T, H/8, W/8] float16 by name ("z", "z_ref", ...), of a batch of clips or of a table of many."""

EncodeClips = Callable[[VAE, Clips], Latents]
"""encode(vae, batches [B, 3, F, H, W]) -> their latents."""


@dataclass(frozen=True)
class LatentKind:
    """Latents of one kind: what is rendered of a clip, and what the VAE makes of it.

    render gives clips in 0..255 (uint8). at_once: clips that a GPU encodes together; a CPU encodes one at a time.
    """

    name: str
    render: RenderClips
    encode: EncodeClips
    at_once: int = 16


def render_draft_clip(index: int) -> Clips:
    """The clip at draft size: what stage 1 learns to draw."""
    return {"clip": quantize(render_draft(index))}


def render_patch_clip(index: int) -> Clips:
    """A quarter of the clip at full size."""
    return {"clip": quantize(render_patch(index))}


def render_pair(index: int) -> Clips:
    """The clip at full size and a draft of it."""
    return _render_pair(render_whole(index), index)


def render_patch_pair(index: int) -> Clips:
    """The same of a quarter of the picture around the shape: four times as many scenes for the time.

    A patch's latents differ from those of the whole picture by about 1 % (group norm statistics; measured).
    """
    return _render_pair(render_patch(index), index)


def _render_pair(clip: Tensor, index: int) -> Clips:
    """The draft is the clip reduced by area averaging, so that both show the same scene exactly; every other one is
    degraded. from_vae [1]: whether it goes through the VAE, as what stage 1 draws has."""
    draft = make_draft(clip, get_draft_size(clip))
    if index % 2:
        draft = degrade(draft, Degradation(), torch.Generator().manual_seed(index))
    return {"clip": quantize(clip), "draft": quantize(draft), "from_vae": torch.tensor([index % 4 < 3])}


def encode_drafts(vae: VAE, clips: Clips) -> Latents:
    """z, of drafts."""
    return {"z": encode_clip(vae, clips["clip"])}


@torch.no_grad()
def encode_pairs(vae: VAE, clips: Clips) -> Latents:
    """z of the clips, and z_ref, the reference that the hand-off makes of their drafts: what stage 2 learns to join.

    Three drafts of four come from the VAE: a tiny one blurs a draft more than any degradation does.
    """
    drafts = dequantize(clips["draft"].to(get_device(vae)))
    decoded = decode_clip(vae, encode_clip(vae, drafts)).to(drafts)
    drafts = torch.where(clips["from_vae"].to(drafts.device)[:, :, None, None, None], decoded, drafts)
    return {"z": encode_clip(vae, clips["clip"]), "z_ref": encode_references(vae, drafts)}


DRAFTS = LatentKind("draft", render_draft_clip, encode_drafts, 64)
PATCH_PAIRS = LatentKind("patch", render_patch_pair, encode_pairs)
PAIRS = LatentKind("pair", render_pair, encode_pairs, 4)


def encode_decoded(vae: VAE, clips: Clips) -> Latents:
    """z, and the `frames` [B, 3, F, H, W] in -1..1 that the VAE makes of it: what a small decoder learns to show."""
    z = encode_clip(vae, clips["clip"])
    return {"z": z, "frames": decode_clip(vae, z)}


def get_draft_size(clip: Tensor) -> tuple[int, int]:
    """(height, width) of the draft of a clip [..., H, W]."""
    return clip.shape[-2] // 4, clip.shape[-1] // 4


def encode_references(vae: VAE, drafts: Tensor) -> Tensor:
    """What the hand-off makes of drafts [B, 3, F, h, w]: latents [B, 16, T, h/2, w/2] at four times the size."""
    return encode_clip(vae, drafts, (4 * drafts.shape[-2], 4 * drafts.shape[-1]))


def encode_clip(vae: VAE, clips: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """Clips [B, 3, F, h, w] in -1..1 or 0..255 (uint8), at `size` (height, width) if given, as the hand-off does it:
    [B, 16, T, H, W]."""
    device = get_device(vae)
    clips = dequantize(clips.to(device))
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=is_bf16_fast(device.type)):
        return prepare_reference(frames=clips, vae=vae, size=size or tuple(clips.shape[-2:])).half()


@torch.no_grad()
def decode_clip(vae: VAE, z: Tensor) -> Tensor:
    """Latents [B, 16, T, h, w] -> the VAE's clips [B, 3, 4T-3, 8h, 8w] in -1..1, float16."""
    device = get_device(vae)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=is_bf16_fast(device.type)):
        return vae.decode(z.to(device).float()).half()
