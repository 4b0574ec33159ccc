"""The recipes of both stages, on latents made before. Their numbers are measured; the reasons stand beside them."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..config import STAGE1, STAGE2, SamplingDefaults, TransformerConfig
from ..dit import Transformer
from ..schedule import zero_snr_sqrt_alphas
from ..training.device import prepare_transformer
from ..training.distributed import SINGLE_PROCESS, World, assign_items
from ..training.loop import LoopConfig
from ..training.losses import drop_text, stage1_loss, stage2_loss
from .clips import DRAFT_SIZE, FULL_SIZE, get_scene
from .init import zero_output
from .latents import Latents
from .recipe import Recipe, make_numpy_generator
from .scene import ATTRIBUTES, FRAMES

TEXT_DROP = 0.1  # paper
# Of stage 1's items. Measured after 1,100 steps: a wrong motion in the caption costs 0.085 of the loss at step 999,
# 0.006 at 800, nothing below 600; texture that no draft needs to get right would else take most of a short training.
# With 0.5 throughout, outlines, which are settled below 700, came out bent.
NOISY_SHARE = 0.25
# Of stage 1's items, what bounces is drawn so much more often than what does not: it is learnt last. After 20,000 steps
# of equal shares 2 of 10 bouncing drafts came back down, where nearly all others went as asked.
BOUNCING_WEIGHT = 3.0
# What stage 1's captions mention. Of some pairs of colour and motion the training has squares and no circles (those are
# held out), so two words that are always there suggest a shape: 75 % of held-out shapes were right with 0.95 for
# each, 91 % after 4,200 further steps with these.
STAGE1_MENTIONED = {"shape": 0.97, "color": 0.7, "motion": 0.7, "size": 0.4, "background_texture": 0.3, "speed": 0.3}
# Of stage 2: up to which it is trained (excluded), small ones more often, for a draft lacks little here: its reference
# differs from the clean latent by a mean square of about DRAFT_ERROR, of 1; step 100 adds 0.11 of noise, 500 0.75.
NOISE_STEPS = (0, 600)
DRAFT_ERROR = 0.05
CROP = 16  # latent side of stage 2's training patches
CLIP_SHARE = 0.15  # of stage 2's steps, on whole clips instead of patches
BATCHES = {"stage1": (16, 256), "stage2": (8, 96), "clips": (1, 12)}  # items of a step, on a CPU and on a GPU

TINY_WIDTHS = {"hidden": 192, "time_dim": 64, "text_dim": 64, "text_length": len(ATTRIBUTES)}
STAGE1_LOOP = LoopConfig(steps=29000, lr=1e-3, ema=0.995)
STAGE2_LOOP = LoopConfig(steps=23000, lr=1e-3, ema=0.995)


def make_stage1_config(latent_scale: float) -> TransformerConfig:
    """The embedded stage 1: eight layers, and how it samples."""
    defaults = SamplingDefaults(size=DRAFT_SIZE, frames=FRAMES, steps=25, cfg=2.0, guidance="constant")
    return replace(STAGE1, **TINY_WIDTHS, layers=8, latent_scale=latent_scale, defaults=defaults)


def make_stage2_config(latent_scale: float) -> TransformerConfig:
    """The embedded stage 2: six layers, sampled without guidance."""
    defaults = SamplingDefaults(
        size=FULL_SIZE, frames=FRAMES, steps=4, cfg=1.0, shift=2.5, ref_step=30, motion="medium motion"
    )
    return replace(STAGE2, **TINY_WIDTHS, layers=6, latent_scale=latent_scale, defaults=defaults)


def make_stage1_recipe(
    captions: Tensor, drafts: Latents, batch_size: int | None = None, world: World = SINGLE_PROCESS
) -> Recipe:
    """A new stage 1 on whole drafts. drafts: the table {"z"}; captions: that of `embed_captions`. batch_size: by
    default what suits the device."""
    scale, batch_size = measure_latent_scale(drafts["z"]), batch_size or choose_batch_size("stage1", world)
    model = Transformer(make_stage1_config(scale))
    network, latents = prepare_transformer(model, world), drafts["z"].to(world.device)
    items, weights = assign_items(world, STAGE1_LOOP.accumulate, batch_size), weigh_drafts(len(latents))

    def loss(generator: torch.Generator) -> Tensor:
        index = torch.multinomial(weights, batch_size, replacement=True, generator=generator)
        txt = drop_text(choose_captions(captions, index, generator), TEXT_DROP, generator)
        z = latents[index.to(latents.device)].float() * scale
        return stage1_loss(network, z, txt.to(z), generator, items, NOISY_SHARE)

    return Recipe(zero_output(model), loss, STAGE1_LOOP)


def make_stage2_recipe(
    captions: Tensor,
    patches: Latents,
    clips: Latents,
    noise_steps: tuple[int, int] = NOISE_STEPS,
    clip_share: float = CLIP_SHARE,
    batch_size: int | None = None,
    world: World = SINGLE_PROCESS,
    start: Transformer | None = None,
) -> Recipe:
    """Patches, and in some steps whole clips; both are tables {"z", "z_ref"} of the first training clips, as captions.

    noise_steps (0, 1) trains without latent noise. batch_size: patches, by default what suits the device. start:
    weights to go on from, None begins anew.
    """
    model = start or zero_output(Transformer(make_stage2_config(measure_latent_scale(patches["z"]))))
    scale, network = model.config.latent_scale, prepare_transformer(model, world)
    counts = (batch_size or choose_batch_size("stage2", world), choose_batch_size("clips", world))
    tables = [[table[name].to(world.device) for name in ("z", "z_ref")] for table in (patches, clips)]

    def loss(generator: torch.Generator) -> Tensor:
        rng = make_numpy_generator(generator)
        whole = rng.random() < clip_share
        table, count = tables[whole], counts[whole]
        index = torch.randint(len(table[0]), (count,), generator=generator)
        pairs = torch.stack([latents[index.to(latents.device)].float() for latents in table]) * scale
        z, z_ref = pairs if whole else crop_patches(pairs, rng)
        txt = drop_text(choose_captions(captions, index, generator), TEXT_DROP, generator)
        items, step = assign_items(world, STAGE2_LOOP.accumulate, count), choose_noise_step(noise_steps, rng)
        loss = stage2_loss(network, z, z_ref, txt.to(z), step, generator, items, model.config.defaults.shift)
        return loss / estimate_distance(step)

    return Recipe(model.requires_grad_(True), loss, STAGE2_LOOP)


def choose_noise_step(bounds: tuple[int, int], rng: np.random.Generator) -> int:
    """From bounds[0] on, below bounds[1]; the density falls as one over the root of the distance from bounds[0]."""
    return bounds[0] + int((bounds[1] - bounds[0]) * rng.random() ** 2)


def estimate_distance(step: int) -> float:
    """The mean square from a clean latent to a reference of this noise step, about. Divided by it, losses of all noise
    steps are of one size, and what a little noise leaves to do is not lost beside what much noise does."""
    sqrt_alpha = float(zero_snr_sqrt_alphas()[step])
    return (1 - sqrt_alpha) ** 2 + 1 - sqrt_alpha**2 + DRAFT_ERROR


def weigh_drafts(count: int) -> Tensor:
    """How often each of the first `count` training clips is drawn, as against one that does not bounce: [count]."""
    return torch.tensor([BOUNCING_WEIGHT if get_scene(i).motion == "bouncing" else 1.0 for i in range(count)])


def choose_batch_size(kind: str, world: World) -> int:
    """Items of a step of all processes: "stage1", "stage2" (patches) or "clips"."""
    return BATCHES[kind][world.kind == "cuda"]


def choose_captions(captions: Tensor, index: Tensor, generator: torch.Generator) -> Tensor:
    """One of each clip's captions: [N, captions, slots, width] and clips [B] -> [B, slots, width]."""
    return captions[index, torch.randint(captions.shape[1], index.shape, generator=generator)]


def crop_patches(pairs: Tensor, rng: np.random.Generator) -> Tensor:
    """One random crop a clip, the same in z and z_ref: [2, B, 16, T, H, W] -> [2, B, 16, T, CROP, CROP]."""
    out = []
    for pair in pairs.unbind(1):
        top, left = (int(rng.integers(side - CROP + 1)) for side in pair.shape[-2:])
        out.append(pair[..., top : top + CROP, left : left + CROP])
    return torch.stack(out, dim=1)


def measure_latent_scale(z: Tensor) -> float:
    """What brings latents to unit variance, as the released 0.7 and 1.15258426 do."""
    return round(1 / float(z[:512].float().std()), 4)
