"""What the model in training makes of one clip of its data, as a video: written at intervals, to be looked at."""

from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ..attention import attention, plain_attention
from ..checkpoint import load_vae
from ..components import Pipeline
from ..media.video_writer import write_video
from ..sampling import make_draw_noise, sample_stage1, sample_stage2
from ..sizes import clip_size
from ..vae_passes import decode, plan_split
from .cache import Entry, read
from .data import middle
from .distributed import World
from .options import Options
from .precision import fast_bf16
from .prepare import Place


def write_sample(path: Path, model: nn.Module, entry: Entry, options: Options, place: Place, world: World) -> None:
    """Stage 1 draws the clip's caption, stage 2 refines a degraded draft of it (its middle patch). Collective.

    Sampled with the weights as they are, not their average, and with the numbers stored beside the weights. The VAE is
    in memory for the decode only. Draws from a generator of its own, so the training does not change.
    """
    with torch.autocast(place.device.type, dtype=torch.bfloat16, enabled=fast_bf16(place.device.type)):
        latent = sample(model, entry, options, place.device)
    if world.first:
        path.parent.mkdir(exist_ok=True)
        pipe = Pipeline(
            None, None, load_vae(place.files["vae"], dtype=place.dtype), None, {}, place.device, place.dtype
        )
        split = plan_split(pipe, "decode", clip_size(*latent.shape[2:]))
        frames = decode(pipe, latent, "decode", split=split)
        write_video(path, frames, options.fps)


def sample(model: nn.Module, entry: Entry, options: Options, device: torch.device) -> Tensor:
    """A latent [1, 16, T, h, w] in VAE units; noise and draws follow from the run's seed."""
    default, draw = model.config.defaults, make_draw_noise(options.seed)
    kernel = plain_attention if device.type == "cpu" else attention
    txt = read(entry.txt)[None].to(device)
    if options.stage == 1:
        noise = draw(torch.empty(1, 16, entry.frames, *entry.size, device=device))
        run = partial(sample_stage1, steps=default.steps, cfg=default.cfg, guidance=default.guidance, draw_noise=draw)
        return run(model, noise, txt, attention=kernel)
    window = middle(entry.size, (options.patch[0] // 8, options.patch[1] // 8))
    z_ref = read(entry.refs[0], (slice(None), slice(None), *window))[None].to(device)
    numbers = {"steps": default.steps, "cfg": default.cfg, "shift": default.shift, "ref_step": default.ref_step}
    return sample_stage2(model, z_ref, txt, noise=draw(z_ref), attention=kernel, **numbers)
