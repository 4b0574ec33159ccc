"""How the embedded model is trained: VAE, text encoder, stage 1, stage 2, in that order.

    python -m flashvideo_core train tiny --folder runs/tiny

Each part is a recipe: a model, a loss whose batch is drawn from a generator, and a LoopConfig. A part that
is done is skipped, a part that was interrupted goes on where it stopped.
"""

import numpy as np
import torch
from torch import Tensor

from ..config import VAEConfig
from ..vae import VAE
from .loop import LoopConfig
from .losses import vae_loss
from .world import centre, render, sample_scene

DRAFT, FULL = (64, 96), (256, 384)  # height, width of a draft and of a refined clip
FRAMES, FPS = 17, 8

VAE_CONFIG = VAEConfig(channels=16, multipliers=(1, 2, 4, 4), blocks=1, groups=8)
VAE_LOOP = LoopConfig(steps=1800, lr=1.5e-3, weight_decay=0.0, betas=(0.9, 0.99), ema=0.995)


def numpy_generator(generator: torch.Generator) -> np.random.Generator:
    return np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))


def vae_batch(generator: torch.Generator) -> Tensor:
    """Two crops of 48x48, or (one step in five) a whole draft; half of the crops come from full-size frames."""
    rng = numpy_generator(generator)
    if rng.random() < 0.2:
        return render(sample_scene(rng), height=DRAFT[0], width=DRAFT[1])[None]
    return torch.stack([_vae_crop(rng, DRAFT if rng.random() < 0.5 else FULL, 48) for _ in range(2)])


def _vae_crop(rng: np.random.Generator, size: tuple[int, int], side: int) -> Tensor:
    """A crop that more often than not holds the shape in a random frame."""
    scene = sample_scene(rng)
    x, y = centre(scene, int(rng.integers(FRAMES)))
    spread = 0.25 if rng.random() < 0.75 else 2.0
    middle = (size[0] * (0.5 + y + rng.normal(0, spread)), size[1] / 2 + size[0] * (x + rng.normal(0, spread)))
    top, left = (int(np.clip(m - side / 2, 0, s - side)) for m, s in zip(middle, size, strict=True))
    return render(scene, height=size[0], width=size[1], crop=(top, left, side, side))


def vae_recipe():
    model = VAE(VAE_CONFIG)
    return model, lambda generator: vae_loss(model, vae_batch(generator), generator), VAE_LOOP
