"""The layers of the causal 3D VAE, each of a whole map or of a chunk of its frames (vae_chunks.py).

Axes: B batch, C channels, T frames, H, W. Source: docs/released-model.md 3.10.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import VAEConfig
from .vae_upsample import convolve_enlarged

Cache = dict[nn.Module, Tensor]
"""The last two input frames of each causal convolution, for the frames that follow. Lives for one encode or decode."""


class CausalConv3d(nn.Module):
    """A 3x3x3 convolution that sees two frames of the past: the cached ones, or the first frame twice."""

    def __init__(self, cin: int, cout: int, ops=nn, **kw):
        super().__init__()
        self.conv = ops.Conv3d(cin, cout, 3, padding=(0, 1, 1), **kw)

    def pad_with_past(self, x: Tensor, cache: Cache) -> Tensor:
        """What `forward` takes. Apart from it, so that its caller can let x go before the convolution."""
        first_twice = x[:, :, :1].expand(-1, -1, 2, -1, -1)
        return torch.cat([cache.pop(self, first_twice), x], dim=2)

    def forward(self, x: Tensor, cache: Cache) -> Tensor:
        """x [B, C, T + 2, H, W] with its past -> [B, C', T, H, W]."""
        y = self.conv(x)  # first: it takes copies of its own on a CPU
        cache[self] = x[:, :, -2:].clone()  # a view would keep the whole group alive
        return y


class GroupNorm(nn.Module):
    """The encoder's norm: statistics over all frames of the group and all pixels of the tile."""

    def __init__(self, channels: int, config: VAEConfig, ops=nn, **kw):
        super().__init__()
        self.norm = ops.GroupNorm(config.groups, channels, eps=1e-6, **kw)

    def forward(self, x: Tensor, z: None) -> Tensor:
        return self.norm(x)


class SpatialNorm(nn.Module):
    """The decoder's norm, modulated by the latent: GN(x) * scale(z) + bias(z).

    1x1x1 convolutions commute with nearest resizing, so they run on the small latent grid.
    """

    def __init__(self, channels: int, config: VAEConfig, ops=nn, **kw):
        super().__init__()
        self.norm = ops.GroupNorm(config.groups, channels, eps=1e-6, **kw)
        self.scale = ops.Conv3d(config.latent_channels, channels, 1, **kw)
        self.bias = ops.Conv3d(config.latent_channels, channels, 1, **kw)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return modulate(self.norm(x), self.scale(z), self.bias(z))


class Downsample(nn.Module):
    """Halves time first, if asked for (averages, frame 0 of an odd number apart), then space."""

    def __init__(self, channels: int, halve_time: bool, ops=nn, **kw):
        super().__init__()
        self.halve_time = halve_time
        self.conv = ops.Conv2d(channels, channels, 3, stride=2, **kw)

    def forward(self, x: Tensor) -> Tensor:
        if self.halve_time and x.shape[2] > 1:
            first = x.shape[2] % 2
            pairs = x[:, :, first:].unflatten(2, (-1, 2)).mean(3)
            x = torch.cat([x[:, :, :1], pairs], dim=2) if first else pairs
        return convolve_frames(self.conv, F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Doubles space, and time if asked for; `first`: but for the first frame, which a clip's first group has."""

    def __init__(self, channels: int, double_time: bool, ops=nn, **kw):
        super().__init__()
        self.double_time = double_time
        self.conv = ops.Conv2d(channels, channels, 3, padding=1, **kw)

    def forward(self, x: Tensor, first: bool) -> Tensor:
        if self.double_time:
            x = torch.cat([x[:, :, : int(first)], x[:, :, int(first) :].repeat_interleave(2, dim=2)], dim=2)
        return convolve_frames(partial(convolve_enlarged, self.conv), x)


def modulate(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """x * scale + bias, both on the latent grid; without gradients in place, one of them at full size at a time."""
    size = x.shape[2:]
    if x.requires_grad or scale.requires_grad:
        return torch.addcmul(resize_nearest(bias, size), x, resize_nearest(scale, size))
    apart = size[0] % 2 and size[0] > 1  # frame 0: resize_nearest would join it to the others, which is one more map
    for frames in (slice(0, 1), slice(1, None)) if apart else (slice(None),):
        y = x[:, :, frames]
        y.mul_(resize_nearest(scale[:, :, frames], y.shape[2:])).add_(resize_nearest(bias[:, :, frames], y.shape[2:]))
    return x


def resize_nearest(x: Tensor, size: tuple[int, int, int]) -> Tensor:
    """A map on the latent grid at the size (T, H, W); frame 0 of an odd group stays apart, and maps to frame 0."""
    if x.shape[2:] == size:
        return x
    if size[0] % 2 and size[0] > 1:
        head = F.interpolate(x[:, :, :1], size=(1, *size[1:]), mode="nearest")
        rest = F.interpolate(x[:, :, 1:], size=(size[0] - 1, *size[1:]), mode="nearest")
        return torch.cat([head, rest], dim=2)
    return F.interpolate(x, size=size, mode="nearest")


def convolve_frames(conv: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A 2-D convolution of every frame of [B, C, T, H, W]."""
    y = conv(x.transpose(1, 2).flatten(0, 1))
    return y.unflatten(0, (x.shape[0], -1)).transpose(1, 2).contiguous()
