"""The two samplings that the stage nodes make: drafts from noise, a refined clip from a reference latent."""

from collections.abc import Iterator, Sequence

import comfy.model_management as mm
import comfy.samplers
import comfy.utils
import torch
from torch import Tensor

from ...flashvideo_core.latent_windows import draw_in_blocks
from ...flashvideo_core.sampling import make_draw_noise
from ...flashvideo_core.setting_rules import SEEDS
from ...flashvideo_core.settings import DraftSettings, RefineSettings
from .latent_windows import set_latent_windows
from .progress import make_sampler_callbacks
from .sampling import Guider, get_config, make_sampler, make_sigmas, set_flow
from .types import Conditioning, Model


def sample_drafts(
    model: Model, positive: Conditioning, negative: Conditioning | None, settings: DraftSettings, drafts: int
) -> Tensor:
    """Drafts [drafts, 16, T, H, W] in VAE units; draft i has the seed + i. negative None: zeros."""
    seeds = range(settings.seed, settings.seed + drafts)
    return torch.cat(list(sample_each_draft(model, positive, negative, settings, seeds)))


def sample_each_draft(
    model: Model,
    positive: Conditioning,
    negative: Conditioning | None,
    settings: DraftSettings,
    seeds: Sequence[int],
) -> Iterator[Tensor]:
    """As `sample_drafts`, a draft [1, 16, T, H, W] of each seed, one after the other."""
    channels = get_config(model, stage=1).latent_channels
    guider = Guider(model, positive, negative, settings.cfg, settings.guidance, settings.cfg_epsilon)
    start = torch.zeros(len(seeds), channels, *settings.latent_shape)
    return sample_each(model, guider, start, seeds, settings.steps)


def refine_latents(
    model: Model,
    positive: Conditioning,
    negative: Conditioning | None,
    latents: Tensor,
    settings: RefineSettings,
    mask: Tensor | None = None,
    sampler: comfy.samplers.Sampler | None = None,
) -> Tensor:
    """Refined latents of reference latents [B, 16, T, H, W], both in VAE units; item i has the seed + i.

    The size is that of the latents. mask: ComfyUI's noise_mask in any of its shapes, 0 where the reference stays.
    sampler: in place of the stage's own.
    """
    windows = settings.latent_windows
    model = set_latent_windows(set_flow(model, settings.shift, settings.ref_step), windows)
    guider, block = Guider(model, positive, negative, settings.cfg, "constant"), windows and windows.size[0]
    seeds = range(settings.seed, settings.seed + len(latents))
    return torch.cat(list(sample_each(model, guider, latents, seeds, settings.steps, mask, block, sampler)))


def sample_each(
    model: Model,
    guider: Guider,
    latents: Tensor,
    seeds: Sequence[int],
    steps: int,
    mask: Tensor | None = None,
    block: int | None = None,
    sampler: comfy.samplers.Sampler | None = None,
) -> Iterator[Tensor]:
    """Samples the items of a batch one after the other, so that each equals the same item made alone.

    block: latent frames whose noise is drawn at once (draw_in_blocks); None: all. sampler: None for that
    of the stage.
    """
    sigmas, callbacks = make_sigmas(model, steps), make_sampler_callbacks(model, len(latents), steps)
    quiet, masks = not comfy.utils.PROGRESS_BAR_ENABLED, [None] * len(latents)
    if mask is not None:
        masks = comfy.utils.reshape_mask(mask, latents.shape).split(1)
    sampler = sampler or make_sampler(model)
    for z, seed, item_mask, callback in zip(latents.split(1), seeds, masks, callbacks, strict=True):
        noise = draw_in_blocks(make_draw_noise(seed), z, block or z.shape[2])
        yield to_intermediate(guider.sample(noise, z, sampler, sigmas, item_mask, callback, quiet, seed % SEEDS))


def to_intermediate(latent: Tensor) -> Tensor:
    """Where and as ComfyUI keeps what nodes hand on."""
    return latent.to(device=mm.intermediate_device(), dtype=mm.intermediate_dtype())
