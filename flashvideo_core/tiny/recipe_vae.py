"""The VAE's recipes: on single frames first, then mostly on clips."""

import torch
from torch import Tensor

from ..config import VAEConfig
from ..training.device import get_device
from ..training.loop import LoopConfig
from ..training.losses import vae_loss
from ..vae import VAE
from .clips import sample_clips, sample_images
from .init import init_vae
from .recipe import Recipe, make_numpy_generator

VAE_CONFIG = VAEConfig(channels=16, multipliers=(1, 2, 4, 4), blocks=1, groups=4)
IMAGE_LOOP = LoopConfig(steps=1600, lr=8e-4, weight_decay=0.0, betas=(0.9, 0.99), ema=0.997)
VAE_LOOP = LoopConfig(steps=2400, lr=5e-4, weight_decay=0.0, betas=(0.9, 0.99), ema=0.997)
IMAGE_SHARE = 0.2  # of the batches of the second recipe


def make_image_recipe() -> Recipe:
    """A new VAE on single frames: many different pictures teach more than some frames of few."""
    model = init_vae(VAE(VAE_CONFIG))

    def loss(generator: torch.Generator) -> Tensor:
        images = sample_images(make_numpy_generator(generator))
        return vae_loss(model, images.to(get_device(model)), generator)

    return Recipe(model, loss, IMAGE_LOOP)


def make_vae_recipe(vae: VAE) -> Recipe:
    """Then mostly clips. What moves is learned late and slowly; single frames in between keep what still ones need."""
    vae.requires_grad_(True)

    def loss(generator: torch.Generator) -> Tensor:
        rng = make_numpy_generator(generator)
        batch = sample_images(rng) if rng.random() < IMAGE_SHARE else sample_clips(rng)
        return vae_loss(vae, batch.to(get_device(vae)), generator)

    return Recipe(vae, loss, VAE_LOOP)
