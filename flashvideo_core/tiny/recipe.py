"""How the embedded model is trained: VAE, text encoder, stage 1, stage 2, in that order.

    python -m flashvideo_core train tiny --folder runs/tiny

Each part is a recipe: a model, a loss whose batch is drawn from a generator, and a LoopConfig.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..attention import plain_attention
from ..config import STAGE1, STAGE2, SamplingDefaults, TextConfig, TransformerConfig, VAEConfig
from ..dit import Transformer
from ..text import WordEncoder, word_ids, word_table
from ..training.distributed import ALONE, World, rows
from ..training.loop import LoopConfig
from ..training.losses import drop_text, stage1_loss, stage2_loss, vae_loss
from ..training.precision import device_of
from ..vae import VAE
from .captions import ATTRIBUTES, MENTIONED, caption, vocabulary
from .init import init_vae, zero_output
from .latents import DRAFT, FULL, scene_of
from .world import FRAMES, centre, crop_around, render, sample_scene

TEXT_DROP = 0.1  # paper
# Of stage 1's items. Measured after 1,100 steps: a wrong motion in the caption costs 0.085 of the loss at step 999,
# 0.006 at 800, nothing below 600; texture that no draft needs to get right would else take most of a short training.
NOISY = 0.5
# What stage 1's captions mention. Of some pairs of colour and motion the training has squares and no circles (those are
# held out), so two words that are always there suggest a shape: 75 % of held-out shapes were right with 0.95 for
# each, 91 % after 4,200 further steps with these.
STAGE1_MENTIONED = {"shape": 0.97, "color": 0.7, "motion": 0.7, "size": 0.4, "background_texture": 0.3, "speed": 0.3}
# Of stage 2. A draft lacks little here: its reference differs from the clean latent by a mean square of 0.05 (of 1.2).
# Step 100 adds 0.11 of noise, and after 600 steps of training on 100-400 stage 2 gave back 0.052, from 300 0.066.
NOISE_STEPS = (10, 160)
CROP = 16  # latent side of stage 2's training patches

TINY_WIDTHS = {"hidden": 192, "time_dim": 64, "text_dim": 64, "text_length": len(ATTRIBUTES)}
VAE_CONFIG = VAEConfig(channels=16, multipliers=(1, 2, 4, 4), blocks=1, groups=4)
IMAGE_LOOP = LoopConfig(steps=1600, lr=8e-4, weight_decay=0.0, betas=(0.9, 0.99), ema=0.997)
VAE_LOOP = LoopConfig(steps=2400, lr=5e-4, weight_decay=0.0, betas=(0.9, 0.99), ema=0.997)
TEXT_LOOP = LoopConfig(steps=1500, lr=1e-3, weight_decay=0.01, autocast=False)
STAGE1_LOOP = LoopConfig(steps=10000, lr=1e-3, ema=0.995)
STAGE2_LOOP = LoopConfig(steps=3000, lr=1e-3, ema=0.99)


@dataclass(frozen=True)
class Recipe:
    model: nn.Module
    loss: Callable[[torch.Generator], Tensor]
    loop: LoopConfig


def image_recipe() -> Recipe:
    """The VAE on single frames first: many different pictures teach more than some frames of few."""
    model = init_vae(VAE(VAE_CONFIG))
    return Recipe(
        model,
        lambda generator: vae_loss(model, image_batch(numpy_generator(generator)).to(device_of(model)), generator),
        IMAGE_LOOP,
    )


def vae_recipe(vae: VAE) -> Recipe:
    """Then mostly clips. What moves is learned late and slowly; single frames in between keep what still ones need."""
    vae.requires_grad_(True)

    def loss(generator: torch.Generator) -> Tensor:
        rng = numpy_generator(generator)
        batch = image_batch(rng) if rng.random() < 0.2 else clip_batch(rng)
        return vae_loss(vae, batch.to(device_of(vae)), generator)

    return Recipe(vae, loss, VAE_LOOP)


def image_batch(rng: np.random.Generator) -> Tensor:
    """Single frames: crops of full-size ones or, as often, whole drafts, whose norm statistics differ from a crop's."""
    size, crop, count = (FULL, (48, 48), 40) if rng.random() < 0.5 else (DRAFT, DRAFT, 14)
    return torch.stack([crop_near_shape(rng, size, crop, 1) for _ in range(count)])


def clip_batch(rng: np.random.Generator) -> Tensor:
    """Small crops of many scenes; now and then whole drafts, or the 17 frames that go through the encoder at once."""
    kinds = [(DRAFT, (32, 32), 9, 12), (FULL, (32, 32), 9, 12), (DRAFT, (32, 48), FRAMES, 4), (DRAFT, DRAFT, 9, 2)]
    size, crop, frames, count = kinds[rng.choice(len(kinds), p=(0.35, 0.35, 0.15, 0.15))]
    return torch.stack([crop_near_shape(rng, size, crop, frames) for _ in range(count)])


def crop_near_shape(rng: np.random.Generator, size: tuple[int, int], crop: tuple[int, int], frames=FRAMES) -> Tensor:
    """A crop [3, frames, h, w] from a random frame on that more often than not holds the shape there."""
    scene = sample_scene(rng)
    first = int(rng.integers(FRAMES - frames + 1))
    x, y = centre(scene, first + frames // 2)
    spread = 0.25 if rng.random() < 0.75 else 2.0
    dy, dx = rng.normal(0, spread, 2)
    window = crop_around((x + dx, y + dy), size, crop)
    return render(scene, height=size[0], width=size[1], first=first, frames=frames, crop=window)


def text_recipe() -> Recipe:
    """Text alone, as T5 was trained: each slot must tell one attribute of the scene, or that it is not said."""
    model = nn.Module()
    model.encoder = WordEncoder(TextConfig(words=len(vocabulary()), slots=len(ATTRIBUTES)))
    nn.init.normal_(model.encoder.slots, std=0.5)
    model.heads = nn.ModuleList(nn.Linear(model.encoder.config.width, len(v) + 1) for v in ATTRIBUTES.values())
    words = word_table(vocabulary())

    def loss(generator: torch.Generator) -> Tensor:
        rng = numpy_generator(generator)
        said = [caption(sample_scene(rng), rng) for _ in range(128)]
        device = device_of(model)
        ids = ids_of([text for text, _ in said], words, model.encoder.config.max_words)
        slots = model.encoder(ids.to(device))
        losses = []
        for i, (name, values) in enumerate(ATTRIBUTES.items()):
            target = torch.tensor([mentioned.get(name, len(values)) for _, mentioned in said], device=device)
            losses.append(F.cross_entropy(model.heads[i](slots[:, i]), target))
        return torch.stack(losses).mean()

    return Recipe(model, loss, TEXT_LOOP)


def stage1_config(latent_scale: float) -> TransformerConfig:
    defaults = SamplingDefaults(size=DRAFT, frames=FRAMES, steps=25, cfg=3.0, guidance="constant")
    return replace(STAGE1, **TINY_WIDTHS, layers=8, latent_scale=latent_scale, defaults=defaults)


def stage2_config(latent_scale: float) -> TransformerConfig:
    defaults = SamplingDefaults(
        size=FULL, frames=FRAMES, steps=4, cfg=1.0, shift=2.5, ref_step=30, motion="medium motion"
    )
    return replace(STAGE2, **TINY_WIDTHS, layers=6, latent_scale=latent_scale, defaults=defaults)


def stage1_recipe(encoder: WordEncoder, latents: dict[str, Tensor], batch: int = 16, world: World = ALONE) -> Recipe:
    scale = latent_scale(latents["z"])
    model, embed = Transformer(stage1_config(scale)), caption_embedder(encoder, STAGE1_MENTIONED)
    network = partial(model, attention=plain_attention)
    mine = rows(world, STAGE1_LOOP.accumulate, batch)

    def loss(generator: torch.Generator) -> Tensor:
        index = torch.randint(len(latents["z"]), (batch,), generator=generator)
        txt = drop_text(embed(index, generator), TEXT_DROP, generator)
        z = latents["z"][index].to(device_of(model)).float() * scale
        return stage1_loss(network, z, txt.to(z), generator, mine, NOISY)

    return Recipe(zero_output(model), loss, STAGE1_LOOP)


def stage2_recipe(
    encoder: WordEncoder,
    patches: dict[str, Tensor],
    clips: dict[str, Tensor],
    noise_steps: tuple[int, int] = NOISE_STEPS,
    clip_share: float = 0.15,
    batch: int = 8,
    world: World = ALONE,
    start: Transformer | None = None,
) -> Recipe:
    """Patches, and in some steps one whole clip. noise_steps (0, 1) trains without latent noise; start: weights to go
    on from."""
    model = start or zero_output(Transformer(stage2_config(latent_scale(patches["z"]))))
    scale, embed = model.config.latent_scale, caption_embedder(encoder)
    network = partial(model, attention=plain_attention)

    def loss(generator: torch.Generator) -> Tensor:
        rng = numpy_generator(generator)
        whole = rng.random() < clip_share
        table, count = (clips, 1) if whole else (patches, batch)
        index = torch.randint(len(table["z"]), (count,), generator=generator)
        pairs = torch.stack([table[name][index].float() for name in ("z", "z_ref")]).to(device_of(model)) * scale
        z, z_ref = pairs if whole else random_patches(pairs, rng)
        txt = drop_text(embed(index, generator), TEXT_DROP, generator)
        mine = rows(world, STAGE2_LOOP.accumulate, count)
        return stage2_loss(network, z, z_ref, txt.to(z), int(rng.integers(*noise_steps)), generator, mine)

    return Recipe(model.requires_grad_(True), loss, STAGE2_LOOP)


def random_patches(pairs: Tensor, rng: np.random.Generator) -> Tensor:
    """One place a clip, the same in z and z_ref: [2, B, 16, T, H, W] -> [2, B, 16, T, CROP, CROP]."""
    out = []
    for pair in pairs.unbind(1):
        top, left = (int(rng.integers(side - CROP + 1)) for side in pair.shape[-2:])
        out.append(pair[..., top : top + CROP, left : left + CROP])
    return torch.stack(out, dim=1)


def caption_embedder(
    encoder: WordEncoder, odds: Mapping[str, float] = MENTIONED
) -> Callable[[Tensor, torch.Generator], Tensor]:
    """f(clip indices, generator) -> embeddings [B, slots, width] of freshly drawn captions (odds: of `caption`)."""
    words = word_table(vocabulary())

    @torch.no_grad()
    def embed(index: Tensor, generator: torch.Generator) -> Tensor:
        rng = numpy_generator(generator)
        texts = [caption(scene_of(i), rng, odds)[0] for i in index.tolist()]
        return encoder(ids_of(texts, words, encoder.config.max_words).to(device_of(encoder)))

    return embed


def ids_of(texts: list[str], words: dict[str, int], max_words: int) -> Tensor:
    """Word ids of several texts, padded with 0: [B, W]."""
    ids = [torch.tensor(word_ids(text, words, max_words)[0]) for text in texts]
    return nn.utils.rnn.pad_sequence(ids, batch_first=True)


def latent_scale(z: Tensor) -> float:
    """What brings the latents to unit variance, as the released 0.7 and 1.15258426 do."""
    return round(1 / float(z[:512].float().std()), 4)


def numpy_generator(generator: torch.Generator) -> np.random.Generator:
    return np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
