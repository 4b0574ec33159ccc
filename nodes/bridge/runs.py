"""The two samplings that the stage nodes make: drafts from noise, a refined clip from a reference latent."""

import comfy.model_management as mm
import comfy.utils
import torch
from torch import Tensor

from ...flashvideo_core.sampling import make_draw_noise
from ...flashvideo_core.settings import DraftSettings, RefineSettings
from .progress import make_sampler_callbacks
from .sampling import Guider, get_config, make_sampler, make_sigmas, set_flow
from .types import Conditioning, Model


def sample_drafts(
    model: Model, positive: Conditioning, negative: Conditioning | None, settings: DraftSettings, drafts: int
) -> Tensor:
    """Drafts [drafts, 16, T, H, W] in VAE units; draft i has the seed + i. negative None: zeros."""
    channels = get_config(model, stage=1).latent_channels
    guider = Guider(model, positive, negative, settings.cfg, settings.guidance)
    start = torch.zeros(drafts, channels, *settings.latent_shape)
    return sample_each(model, guider, start, settings.seed, settings.steps)


def refine_latents(
    model: Model, positive: Conditioning, negative: Conditioning | None, latents: Tensor, settings: RefineSettings
) -> Tensor:
    """Refined latents of reference latents [B, 16, T, H, W], both in VAE units; item i has the seed + i.

    The size is that of the latents.
    """
    model = set_flow(model, settings.shift, settings.ref_step)
    guider = Guider(model, positive, negative, settings.cfg, "constant")
    return sample_each(model, guider, latents, settings.seed, settings.steps)


def sample_each(model: Model, guider: Guider, latents: Tensor, seed: int, steps: int) -> Tensor:
    """Samples the items of a batch one after the other, so that each equals the same item made alone."""
    sigmas, callbacks, out = make_sigmas(model, steps), make_sampler_callbacks(model, len(latents), steps), []
    quiet = not comfy.utils.PROGRESS_BAR_ENABLED
    for i, (z, callback) in enumerate(zip(latents.split(1), callbacks, strict=True)):
        noise, item_seed = make_draw_noise(seed + i)(z), (seed + i) % 2**64
        out.append(guider.sample(noise, z, make_sampler(model), sigmas, None, callback, quiet, item_seed))
    return torch.cat(out).to(device=mm.intermediate_device(), dtype=mm.intermediate_dtype())
