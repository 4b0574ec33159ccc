"""The live preview's colours: a least-squares map from a VAE's latent to RGB, kept in the stages' metadata."""

import torch
from torch import Tensor


def fit_latent_rgb(z: Tensor, frames: Tensor) -> Tensor:
    """Rows [17, 3]: rgb in -1..1 is z (16 channels, VAE units) @ rows[:16] + rows[16], at latent resolution.

    z [B, 16, T, H, W] is the latent of frames [B, 3, 4T-3, 8H, 8W] in -1..1. Latent frame t shows frame 4t,
    averaged over the 8x8 pixels of each latent pixel.
    """
    small = torch.nn.functional.avg_pool3d(frames[:, :, ::4], (1, 8, 8))
    pixels = z.movedim(1, -1).reshape(-1, z.shape[1])
    pixels = torch.cat([pixels, torch.ones(len(pixels), 1)], dim=1)
    return torch.linalg.lstsq(pixels.double(), small.movedim(1, -1).reshape(-1, 3).double()).solution.float()
