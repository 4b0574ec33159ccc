"""What the model in training makes of one clip of its data, as a video: written at intervals, to be looked at."""

from pathlib import Path

import torch
from torch import Tensor, nn

from ..checkpoint import load_vae
from ..components import Pipeline
from ..media.video_writer import write_video
from ..sampling import make_draw_noise, sample_stage1, sample_stage2
from ..sizes import clip_size, latent_size
from ..vae_passes import decode, plan_split
from .cache import CachedClip, read_tensor
from .device import choose_training_attention, is_bf16_fast
from .distributed import World
from .options import TrainingOptions
from .prepare import WeightFiles
from .spans import center_crop


def write_sample(
    path: Path, model: nn.Module, clip: CachedClip, options: TrainingOptions, weights: WeightFiles, world: World
) -> None:
    """Stage 1 draws the clip's caption, stage 2 refines a degraded draft of it (its middle patch). Collective.

    Sampled with the weights as they are, not their average, and with the numbers stored beside the weights. The VAE is
    in memory for the decode only. Draws from a generator of its own, so the training does not change.
    """
    device = weights.device
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=is_bf16_fast(device.type)):
        latent = sample_latent(model, clip, options, device)
    if world.first:
        path.parent.mkdir(exist_ok=True)
        vae = load_vae(weights.files["vae"], dtype=weights.dtype)
        pipe = Pipeline(None, None, vae, None, {}, device, weights.dtype)
        split = plan_split(pipe, "decode", clip_size(*latent.shape[2:]))
        frames = decode(pipe, latent, "decode", split=split)
        write_video(path, frames, options.fps)


def sample_latent(model: nn.Module, clip: CachedClip, options: TrainingOptions, device: torch.device) -> Tensor:
    """A latent [1, 16, T, h, w] in VAE units, from the run's seed."""
    default, draw_noise = model.config.defaults, make_draw_noise(options.seed)
    attention = choose_training_attention(device.type)
    txt = read_tensor(clip.txt)[None].to(device)
    if model.config.objective == "v":
        return sample_stage1(
            model,
            draw_noise(torch.empty(1, 16, clip.frames, *clip.size, device=device)),
            txt,
            steps=default.steps,
            cfg=default.cfg,
            guidance=default.guidance,
            draw_noise=draw_noise,
            attention=attention,
        )
    crop = center_crop(clip.size, latent_size(1, *options.patch)[1:])
    z_ref = read_tensor(clip.refs[0], (slice(None), slice(None), *crop))[None].to(device)
    return sample_stage2(
        model,
        z_ref,
        txt,
        noise=draw_noise(z_ref),
        steps=default.steps,
        cfg=default.cfg,
        shift=default.shift,
        ref_step=default.ref_step,
        attention=attention,
    )
