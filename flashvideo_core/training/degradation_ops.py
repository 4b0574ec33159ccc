"""Blur, resize and noise of DEG_pixel, with given strengths. Clips are [3, F, h, w] float32 in -1..1."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def gaussian_kernel(sigma_x: float, sigma_y: float, angle: float, beta: float, radius: int) -> Tensor:
    """[2r+1, 2r+1] kernel exp(-(q/2)^beta) of sum 1, where q is the squared distance in units of sigma along the
    rotated axes; beta 1 is the Gaussian. Sigmas in pixels, angle in radians."""
    y, x = torch.meshgrid(*[torch.arange(-radius, radius + 1, dtype=torch.float32)] * 2, indexing="ij")
    cos, sin = math.cos(angle), math.sin(angle)
    q = ((cos * x + sin * y) / sigma_x) ** 2 + ((cos * y - sin * x) / sigma_y) ** 2
    kernel = torch.exp(-((0.5 * q) ** beta))
    return kernel / kernel.sum()


def blur(frames: Tensor, kernel: Tensor) -> Tensor:
    """Convolves every frame and colour with one kernel; edges are replicated, so a constant picture stays constant."""
    c, f, h, w = frames.shape
    r = kernel.shape[-1] // 2
    padded = F.pad(frames.reshape(1, c * f, h, w), (r, r, r, r), mode="replicate")
    kernels = kernel.to(frames).expand(c * f, 1, -1, -1).contiguous()
    return F.conv2d(padded, kernels, groups=c * f).reshape(c, f, h, w)  # grouped: 5 times as fast as a batch here


def interpolate(frames: Tensor, size: Sequence[int], mode: str) -> Tensor:
    """Every frame at size (height, width); mode is area, bilinear or bicubic, not antialiased."""
    align = None if mode == "area" else False
    return F.interpolate(frames.transpose(0, 1), tuple(size), mode=mode, align_corners=align).transpose(0, 1)


def resize_and_back(frames: Tensor, scale: float, there: str, back: str) -> Tensor:
    """To `scale` times the size and back, each with its own mode of `interpolate`."""
    size = frames.shape[-2:]
    small = [max(1, round(side * scale)) for side in size]
    return interpolate(interpolate(frames, small, there), size, back)


def add_gaussian_noise(frames: Tensor, sigma: float, grey: bool, generator: torch.Generator) -> Tensor:
    """Adds normal noise of standard deviation `sigma` (8-bit steps), new in every frame; grey: equal in the colours."""
    shape = (1 if grey else 3, *frames.shape[1:])
    return frames + (sigma / 127.5) * torch.randn(shape, generator=generator).to(frames)


def add_poisson_noise(frames: Tensor, scale: float, grey: bool, generator: torch.Generator) -> Tensor:
    """Adds `scale` times the shot noise of a picture of 255 photons at white; grey: drawn from the luma."""
    photons = (frames.cpu().float().clamp(-1, 1) + 1) * 127.5
    if grey:
        photons = (photons * torch.tensor(LUMA)[:, None, None, None]).sum(0, keepdim=True)
    noise = torch.poisson(photons, generator=generator) - photons
    return frames + (scale / 127.5) * noise.to(frames)
