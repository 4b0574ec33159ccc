"""The degradation-free hand-off from a draft (or any clip) to stage 2's reference latent.

Latent -> pixels -> larger pixels -> latent, all in floating point: no 8-bit frames, no codec, no simulated
blur. Stage 2 was trained on degraded inputs so that nothing needs to be degraded here. Source:
docs/released-model.md 3.11.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import InputError
from .sizes import floor_frame_count, floor_size
from .types import DrawNoise, ProgressCallback
from .vae import VAE


def resize_frames(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear with antialiasing, frame by frame: [B, 3, F, h, w] -> [B, 3, F, H, W]."""
    if frames.shape[3:] == tuple(size):
        return frames
    out = frames.new_empty(*frames.shape[:3], *size)
    for i in range(frames.shape[2]):
        out[:, :, i] = F.interpolate(frames[:, :, i], size, mode="bilinear", antialias=True)
    return out


def resize_to_target(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Frames [B, 3, F, h, w], trimmed at the end to 4n+1, at the size (height, width) floored to multiples of 16."""
    return resize_frames(frames[:, :, : floor_frame_count(frames.shape[2])], floor_size(size))


@torch.no_grad()
def prepare_reference(
    z: Tensor | None = None,
    vae: VAE | None = None,
    size: tuple[int, int] = (1072, 1920),
    draw_noise: DrawNoise | None = None,
    frames: Tensor | None = None,
    callback: ProgressCallback | None = None,
) -> Tensor:
    """Stage 2's reference latent [B, 16, T, H/8, W/8] in VAE units.

    Either a latent z [B, 16, T, h, w] in VAE units, or frames [B, 3, F, h, w] in -1..1 (trimmed at the end
    to 4n+1). size (height, width) is floored to multiples of 16. Without draw_noise the posterior mean.
    Raises InputError for a bad size, NaN, or when not exactly one of z and frames is given.
    """
    if (z is None) == (frames is None):
        raise InputError("give either a latent or frames to the hand-off, not both")
    floor_size(size)  # a bad one is said before the decode
    check_source(*((z, "latent") if frames is None else (frames, "clip")))
    if frames is None:
        frames = vae.decode(z, callback, phase="draft_decode")
    return vae.encode(resize_to_target(frames, size), draw_noise, callback)


def check_source(x: Tensor, name: str) -> None:
    """Raises InputError, by that name, for what holds NaN or infinity."""
    if not torch.isfinite(x.sum(dtype=torch.float32)):  # no mask as large as the clip
        raise InputError(f"the {name} that is handed off holds NaN or infinity: see how it was made")
