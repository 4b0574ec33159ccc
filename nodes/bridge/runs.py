"""The two samplings that the stage nodes make: drafts from noise, a refined clip from a reference latent."""

import comfy.model_management as mm
import comfy.utils
import torch
from torch import Tensor

from ...flashvideo_core.latent_windows import draw_in_blocks
from ...flashvideo_core.sampling import make_draw_noise
from ...flashvideo_core.settings import DraftSettings, RefineSettings
from .latent_windows import set_latent_windows
from .progress import make_sampler_callbacks
from .sampling import Guider, get_config, make_sampler, make_sigmas, set_flow
from .types import Conditioning, Model


def sample_drafts(
    model: Model, positive: Conditioning, negative: Conditioning | None, settings: DraftSettings, drafts: int
) -> Tensor:
    """Drafts [drafts, 16, T, H, W] in VAE units; draft i has the seed + i. negative None: zeros."""
    channels = get_config(model, stage=1).latent_channels
    guider = Guider(model, positive, negative, settings.cfg, settings.guidance, settings.cfg_epsilon)
    start = torch.zeros(drafts, channels, *settings.latent_shape)
    return sample_each(model, guider, start, settings.seed, settings.steps)


def refine_latents(
    model: Model,
    positive: Conditioning,
    negative: Conditioning | None,
    latents: Tensor,
    settings: RefineSettings,
    mask: Tensor | None = None,
) -> Tensor:
    """Refined latents of reference latents [B, 16, T, H, W], both in VAE units; item i has the seed + i.

    The size is that of the latents. mask: ComfyUI's noise_mask in any of its shapes, 0 where the reference stays.
    """
    windows = settings.latent_windows
    model = set_latent_windows(set_flow(model, settings.shift, settings.ref_step), windows)
    guider, block = Guider(model, positive, negative, settings.cfg, "constant"), windows and windows.size[0]
    return sample_each(model, guider, latents, settings.seed, settings.steps, mask, block)


def sample_each(
    model: Model,
    guider: Guider,
    latents: Tensor,
    seed: int,
    steps: int,
    mask: Tensor | None = None,
    block: int | None = None,
) -> Tensor:
    """Samples the items of a batch one after the other, so that each equals the same item made alone.

    block: latent frames whose noise is drawn at once (draw_in_blocks); None: all.
    """
    sigmas, callbacks, out = make_sigmas(model, steps), make_sampler_callbacks(model, len(latents), steps), []
    quiet, masks = not comfy.utils.PROGRESS_BAR_ENABLED, [None] * len(latents)
    if mask is not None:
        masks = comfy.utils.reshape_mask(mask, latents.shape).split(1)
    for i, (z, item_mask, callback) in enumerate(zip(latents.split(1), masks, callbacks, strict=True)):
        noise = draw_in_blocks(make_draw_noise(seed + i), z, block or z.shape[2])
        item_seed = (seed + i) % 2**64
        out.append(guider.sample(noise, z, make_sampler(model), sigmas, item_mask, callback, quiet, item_seed))
    return torch.cat(out).to(device=mm.intermediate_device(), dtype=mm.intermediate_dtype())
