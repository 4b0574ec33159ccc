"""The VAE's recipes: on single frames first, then mostly on clips."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..config import VAEConfig
from ..training.device import prepare_network
from ..training.distributed import World
from ..training.loop import LoopConfig
from ..training.losses import autoencode, vae_loss
from ..vae import VAE
from .clips import DRAFT_SIZE, FULL_SIZE, PATCH_SIZE
from .init import init_vae
from .pools import ClipPool, choose_crops
from .recipe import Recipe

VAE_CONFIG = VAEConfig(channels=16, multipliers=(1, 2, 4, 4), blocks=1, groups=4)
IMAGE_LOOP = LoopConfig(steps=1600, lr=1e-3, weight_decay=0.0, betas=(0.9, 0.99), ema=0.997)
VAE_LOOP = LoopConfig(steps=6000, lr=8e-4, weight_decay=0.0, betas=(0.9, 0.99), ema=0.997)
GPU_ITEMS = 2  # that a GPU takes for each of a CPU's, but for whole clips
KL = 3e-5
DRAFT_COUNT, PATCH_COUNT, WHOLE_COUNT = 1536, 768, 96  # clips that the batches are cut from: 1.7 GB


@dataclass(frozen=True)
class Batch:
    """What a batch is cut from, and how: crops of some frames, so many of them, in `share` of the steps."""

    pool: str
    crop: tuple[int, int]
    frames: int
    count: int
    share: float


# Norms average over all of a picture, so what is trained on crops alone is off on whole ones: some are whole.
IMAGE_BATCHES = (
    Batch("patch", (48, 48), 1, 32, 0.4),
    Batch("patch", PATCH_SIZE, 1, 4, 0.2),
    Batch("draft", DRAFT_SIZE, 1, 14, 0.3),
    Batch("whole", FULL_SIZE, 1, 1, 0.1),
)
CLIP_BATCHES = (
    *(Batch(b.pool, b.crop, b.frames, b.count, 0.15 * b.share) for b in IMAGE_BATCHES),
    Batch("patch", (48, 48), 9, 5, 0.3),
    Batch("patch", (48, 64), 17, 2, 0.1),
    Batch("patch", PATCH_SIZE, 9, 1, 0.1),
    Batch("draft", DRAFT_SIZE, 9, 2, 0.2),
    Batch("draft", DRAFT_SIZE, 17, 1, 0.1),
    Batch("whole", FULL_SIZE, 9, 1, 0.05),
)

POOLS = {"draft": DRAFT_COUNT, "patch": PATCH_COUNT, "whole": WHOLE_COUNT}
Pools = dict[str, ClipPool]
"""What both recipes are cut from."""


def make_image_recipe(pools: Pools) -> Recipe:
    """A new VAE on single frames: many different pictures teach more than some frames of few."""
    return _make_recipe(init_vae(VAE(VAE_CONFIG)), pools, IMAGE_BATCHES, IMAGE_LOOP)


def make_vae_recipe(vae: VAE, pools: Pools) -> Recipe:
    """Then mostly clips. What moves is learned late and slowly; single frames in between keep what still ones need."""
    return _make_recipe(vae.requires_grad_(True), pools, CLIP_BATCHES, VAE_LOOP)


def _make_recipe(vae: VAE, pools: Pools, batches: tuple[Batch, ...], loop: LoopConfig) -> Recipe:
    shares, world = torch.tensor([batch.share for batch in batches]), World(device=pools["draft"].device.type)
    network = prepare_network(vae, partial(autoencode, vae), world)

    def loss(generator: torch.Generator) -> Tensor:
        batch = batches[int(torch.multinomial(shares, 1, generator=generator))]
        count = batch.count * (GPU_ITEMS if world.kind == "cuda" and batch.pool != "whole" else 1)
        crops = choose_crops(pools[batch.pool], batch.crop, batch.frames, count, generator)
        return vae_loss(network, crops, generator, KL)

    return Recipe(vae, loss, loop)
