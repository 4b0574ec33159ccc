"""The recipes of both stages, on latents made before. Their numbers are measured; the reasons stand beside them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..attention import plain_attention
from ..config import STAGE1, STAGE2, SamplingDefaults, TransformerConfig
from ..dit import Transformer
from ..text import WordEncoder, number_words
from ..training.device import get_device
from ..training.distributed import SINGLE_PROCESS, World, assign_items
from ..training.loop import LoopConfig
from ..training.losses import drop_text, stage1_loss, stage2_loss
from .captions import MENTIONED, build_vocabulary, caption
from .clips import DRAFT_SIZE, FULL_SIZE, get_scene
from .init import zero_output
from .latents import Latents
from .recipe import Recipe, encode_words, make_numpy_generator
from .scene import ATTRIBUTES, FRAMES

TEXT_DROP = 0.1  # paper
# Of stage 1's items. Measured after 1,100 steps: a wrong motion in the caption costs 0.085 of the loss at step 999,
# 0.006 at 800, nothing below 600; texture that no draft needs to get right would else take most of a short training.
NOISY_SHARE = 0.5
# What stage 1's captions mention. Of some pairs of colour and motion the training has squares and no circles (those are
# held out), so two words that are always there suggest a shape: 75 % of held-out shapes were right with 0.95 for
# each, 91 % after 4,200 further steps with these.
STAGE1_MENTIONED = {"shape": 0.97, "color": 0.7, "motion": 0.7, "size": 0.4, "background_texture": 0.3, "speed": 0.3}
# Of stage 2. A draft lacks little here: its reference differs from the clean latent by a mean square of 0.05 (of 1.2).
# Step 100 adds 0.11 of noise, and after 600 steps of training on 100-400 stage 2 gave back 0.052, from 300 0.066.
NOISE_STEPS = (10, 160)  # the second excluded
CROP = 16  # latent side of stage 2's training patches
CLIP_SHARE = 0.15  # of stage 2's steps, on one whole clip instead of patches

TINY_WIDTHS = {"hidden": 192, "time_dim": 64, "text_dim": 64, "text_length": len(ATTRIBUTES)}
STAGE1_LOOP = LoopConfig(steps=10000, lr=1e-3, ema=0.995)
STAGE2_LOOP = LoopConfig(steps=3000, lr=1e-3, ema=0.99)

EmbedCaptions = Callable[[Tensor, torch.Generator], Tensor]
"""embed(clip indices [B], generator) -> embeddings [B, slots, width] of freshly drawn captions."""


def make_stage1_config(latent_scale: float) -> TransformerConfig:
    """The embedded stage 1: eight layers, and how it samples."""
    defaults = SamplingDefaults(size=DRAFT_SIZE, frames=FRAMES, steps=25, cfg=3.0, guidance="constant")
    return replace(STAGE1, **TINY_WIDTHS, layers=8, latent_scale=latent_scale, defaults=defaults)


def make_stage2_config(latent_scale: float) -> TransformerConfig:
    """The embedded stage 2: six layers, sampled without guidance."""
    defaults = SamplingDefaults(
        size=FULL_SIZE, frames=FRAMES, steps=4, cfg=1.0, shift=2.5, ref_step=30, motion="medium motion"
    )
    return replace(STAGE2, **TINY_WIDTHS, layers=6, latent_scale=latent_scale, defaults=defaults)


def make_stage1_recipe(
    encoder: WordEncoder, latents: Latents, batch_size: int = 16, world: World = SINGLE_PROCESS
) -> Recipe:
    """A new stage 1 on whole drafts. latents: the table {"z"}."""
    scale = measure_latent_scale(latents["z"])
    model, embed = Transformer(make_stage1_config(scale)), make_caption_embedder(encoder, STAGE1_MENTIONED)
    network = partial(model, attention=plain_attention)
    items = assign_items(world, STAGE1_LOOP.accumulate, batch_size)

    def loss(generator: torch.Generator) -> Tensor:
        index = torch.randint(len(latents["z"]), (batch_size,), generator=generator)
        txt = drop_text(embed(index, generator), TEXT_DROP, generator)
        z = latents["z"][index].to(get_device(model)).float() * scale
        return stage1_loss(network, z, txt.to(z), generator, items, NOISY_SHARE)

    return Recipe(zero_output(model), loss, STAGE1_LOOP)


def make_stage2_recipe(
    encoder: WordEncoder,
    patches: Latents,
    clips: Latents,
    noise_steps: tuple[int, int] = NOISE_STEPS,
    clip_share: float = CLIP_SHARE,
    batch_size: int = 8,
    world: World = SINGLE_PROCESS,
    start: Transformer | None = None,
) -> Recipe:
    """Patches, and in some steps one whole clip; both are tables {"z", "z_ref"}.

    noise_steps (0, 1) trains without latent noise. start: weights to go on from, None begins anew.
    """
    model = start or zero_output(Transformer(make_stage2_config(measure_latent_scale(patches["z"]))))
    scale, embed = model.config.latent_scale, make_caption_embedder(encoder)
    network = partial(model, attention=plain_attention)

    def loss(generator: torch.Generator) -> Tensor:
        rng = make_numpy_generator(generator)
        whole = rng.random() < clip_share
        table, count = (clips, 1) if whole else (patches, batch_size)
        index = torch.randint(len(table["z"]), (count,), generator=generator)
        pairs = torch.stack([table[name][index].float() for name in ("z", "z_ref")]).to(get_device(model)) * scale
        z, z_ref = pairs if whole else crop_patches(pairs, rng)
        txt = drop_text(embed(index, generator), TEXT_DROP, generator)
        items = assign_items(world, STAGE2_LOOP.accumulate, count)
        return stage2_loss(network, z, z_ref, txt.to(z), int(rng.integers(*noise_steps)), generator, items)

    return Recipe(model.requires_grad_(True), loss, STAGE2_LOOP)


def crop_patches(pairs: Tensor, rng: np.random.Generator) -> Tensor:
    """One random crop a clip, the same in z and z_ref: [2, B, 16, T, H, W] -> [2, B, 16, T, CROP, CROP]."""
    out = []
    for pair in pairs.unbind(1):
        top, left = (int(rng.integers(side - CROP + 1)) for side in pair.shape[-2:])
        out.append(pair[..., top : top + CROP, left : left + CROP])
    return torch.stack(out, dim=1)


def make_caption_embedder(encoder: WordEncoder, odds: Mapping[str, float] = MENTIONED) -> EmbedCaptions:
    """Captions of training clips, drawn anew each time they are embedded. odds: of `caption`."""
    words = number_words(build_vocabulary())

    @torch.no_grad()
    def embed(index: Tensor, generator: torch.Generator) -> Tensor:
        rng = make_numpy_generator(generator)
        texts = [caption(get_scene(i), rng, odds)[0] for i in index.tolist()]
        return encoder(encode_words(texts, words, encoder.config.max_words).to(get_device(encoder)))

    return embed


def measure_latent_scale(z: Tensor) -> float:
    """What brings latents to unit variance, as the released 0.7 and 1.15258426 do."""
    return round(1 / float(z[:512].float().std()), 4)
