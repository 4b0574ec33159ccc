"""The layers of the causal 3D VAE. A feature map is a list of parts, a few frames [B, C, T, H, W] each.

Where gradients are wanted, and on a GPU unless it is asked for less, there is one part. On a CPU a part is as few
frames as stay quick, so that of a residual block only its input and its inner map are ever whole; norms take their
statistics over all parts. Measured beside this and not kept: Winograd's convolutions in channels-last (0.9 to 1.4 of
the direct ones' time), a 2-D convolution over three frames as channels (1.0 to 1.8).
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import count

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import VAEConfig
from .vae_upsample import upsampled

Parts = list[Tensor]
Cache = dict[nn.Module, Tensor]
PIXELS = 4096  # of a part: with fewer a convolution spends its time on its weights
WHOLE = 2**62  # pixels: of the whole map
SLOW = 20480  # channels x frames x height up to which torch takes a 3-D convolution that unfolds its input


class CausalConv3d(nn.Module):
    """A 3x3x3 convolution that sees two frames of the past: the cached ones, or the first frame twice."""

    def __init__(self, cin: int, cout: int, ops=nn, **kw):
        super().__init__()
        self.conv = ops.Conv3d(cin, cout, 3, padding=(0, 1, 1), **kw)

    def with_past(self, x: Tensor, cache: Cache) -> Tensor:
        """What `forward` takes. Apart from it, so that its caller can let x go before the convolution."""
        first_twice = x[:, :, :1].expand(-1, -1, 2, -1, -1)
        return torch.cat([cache.pop(self, first_twice), x], dim=2)

    def forward(self, x: Tensor, cache: Cache) -> Tensor:
        y = self.conv(x)  # first: it takes copies of its own on a CPU
        cache[self] = x[:, :, -2:].clone()  # a view would keep the whole group alive
        return y


class GroupNorm(nn.Module):
    """The encoder's norm: statistics over all frames of the group and all pixels of the tile."""

    def __init__(self, channels: int, config: VAEConfig, ops=nn, **kw):
        super().__init__()
        self.norm = ops.GroupNorm(config.groups, channels, eps=1e-6, **kw)

    def forward(self, x: Tensor, z: Tensor | None) -> Tensor:
        return self.norm(x)

    def each(self, parts: Parts, z: Tensor | None) -> Iterator[Tensor]:
        """The norm of one of several parts after the other. Consumes them."""
        scale, shift = affine(self.norm, parts)
        while parts:
            yield torch.addcmul(shift, parts.pop(0), scale)


class SpatialNorm(nn.Module):
    """The decoder's norm, modulated by the latent: GN(x) * scale(z) + bias(z).

    1x1x1 convolutions commute with nearest resizing, so they run on the small latent grid.
    """

    def __init__(self, channels: int, config: VAEConfig, ops=nn, **kw):
        super().__init__()
        self.norm = ops.GroupNorm(config.groups, channels, eps=1e-6, **kw)
        self.scale = ops.Conv3d(config.latent_channels, channels, 1, **kw)
        self.bias = ops.Conv3d(config.latent_channels, channels, 1, **kw)

    def forward(self, x: Tensor, z: Tensor | None) -> Tensor:
        return modulated(self.norm(x), self.scale(z), self.bias(z))

    def each(self, parts: Parts, z: Tensor) -> Iterator[Tensor]:
        counts = [part.shape[2] for part in parts]
        scale, shift = affine(self.norm, parts)
        factor, offset = (resize(y, (sum(counts), *z.shape[3:])) for y in (self.scale(z), self.bias(z)))
        factor, offset = factor * scale, torch.addcmul(offset, factor, shift)
        for f, o in zip(factor.split(counts, dim=2), offset.split(counts, dim=2), strict=True):
            size = parts[0].shape[2:]
            yield (parts.pop(0) * resize(f, size)).add_(resize(o, size))


class ResBlock(nn.Module):
    def __init__(self, cin: int, cout: int, norm: type, config: VAEConfig, ops=nn, **kw):
        super().__init__()
        self.norm1 = norm(cin, config, ops, **kw)
        self.conv1 = CausalConv3d(cin, cout, ops, **kw)
        self.norm2 = norm(cout, config, ops, **kw)
        self.conv2 = CausalConv3d(cout, cout, ops, **kw)
        self.skip = ops.Conv3d(cin, cout, 1, **kw) if cin != cout else nn.Identity()

    def forward(self, parts: Parts, z: Tensor | None, cache: Cache, last: bool) -> Parts:
        """Consumes the parts: first those of the skip, then those of the output take their places in the list."""

        def skipped(i: int, y: Tensor) -> Tensor:
            parts[i] = self.skip(parts[i])  # at once: x itself is not needed any more
            return y

        h = list(convolved(self.conv1, map(skipped, count(), activated(self.norm1, list(parts), z)), cache, last))
        out = convolved(self.conv2, activated(self.norm2, h, z), cache, last)
        for i in range(len(parts)):
            parts[i] = parts[i] + next(out)
        next(out, None)  # to its end, where it lets its past go
        return parts


class Downsample(nn.Module):
    """Halves time first (averages, frame 0 of an odd group apart), then space. Consumes the parts."""

    def __init__(self, channels: int, halve_time: bool, ops=nn, **kw):
        super().__init__()
        self.halve_time = halve_time
        self.conv = ops.Conv2d(channels, channels, 3, stride=2, **kw)

    def forward(self, parts: Parts, pixels: int | None) -> Parts:
        out, even = [], sum(part.shape[2] for part in parts) % 2 == 0
        while parts:
            x = parts.pop(0)
            if self.halve_time and x.shape[2] == 1 and parts and (even or out):
                x = torch.cat([x, parts.pop(0)], dim=2)
            out.append(self.halve(x))
        return split(join(out), pixels)

    def halve(self, x: Tensor) -> Tensor:
        if self.halve_time and x.shape[2] > 1:
            first = x.shape[2] % 2
            pairs = x[:, :, first:].unflatten(2, (-1, 2)).mean(3)
            x = torch.cat([x[:, :, :1], pairs], dim=2) if first else pairs
        return per_frame(self.conv, F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Doubles space, and time if asked for; the first frame of a clip is never doubled in time. Consumes the parts."""

    def __init__(self, channels: int, double_time: bool, ops=nn, **kw):
        super().__init__()
        self.double_time = double_time
        self.conv = ops.Conv2d(channels, channels, 3, padding=1, **kw)

    def forward(self, parts: Parts, pixels: int | None, first: bool) -> Parts:
        out = []
        while parts:
            out += split(self.double(parts.pop(0), first and not out), pixels)
        return out

    def double(self, x: Tensor, first: bool) -> Tensor:
        if self.double_time:
            head = x[:, :, : int(first)]
            x = torch.cat([head, x[:, :, int(first) :].repeat_interleave(2, dim=2)], dim=2)
        return per_frame(partial(upsampled, self.conv), x)


def split(x: Tensor, pixels: int | None) -> Parts:
    """x in parts of about so many pixels; None: what is quick on a CPU in float32, and whole anywhere else.

    An even number of frames in each or one, so that pairs stay together. Parts are copies: a view would keep all of x.
    """
    c, frames, h, w = x.shape[1:]
    if pixels is None:
        pixels = default_chunk_pixels(x.device, x.dtype)
    count = max(1, pixels // (h * w), SLOW // (c * h) - 1)
    if count >= frames or x.requires_grad:
        return [x]
    count = max(1, count // 2 * 2)
    head = (count - 1) * (frames % 2)
    return [part.clone() for part in (x[:, :, :head], *x[:, :, head:].split(count, dim=2)) if part.shape[2]]


def default_chunk_pixels(device: torch.device, dtype: torch.dtype) -> int:
    return PIXELS if device.type == "cpu" and dtype == torch.float32 else WHOLE


def join(parts: Parts) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


def entered(conv: CausalConv3d, x: Tensor, cache: Cache, pixels: int | None) -> Parts:
    """The first convolution, of input in parts; whole where it is trained."""
    if torch.is_grad_enabled() and conv.conv.weight.requires_grad:
        pixels = WHOLE
    return [part for y in convolved(conv, split(x, pixels), cache, last=False) for part in split(y, pixels)]


def activated(norm: GroupNorm | SpatialNorm, parts: Parts, z: Tensor | None) -> Iterator[Tensor]:
    """silu(norm) of one part after the other. Consumes the parts, and holds none that it has given away."""

    def normed() -> Iterator[Tensor]:
        if len(parts) == 1:
            yield norm(parts.pop(), z)
        else:
            yield from norm.each(parts, z)

    return map(silu, normed())


def silu(y: Tensor) -> Tensor:
    return F.silu(y, inplace=not y.requires_grad)


def convolved(causal: CausalConv3d, parts: Iterable[Tensor], cache: Cache, last: bool) -> Iterator[Tensor]:
    """The convolution of parts that follow each other; `last`: no group follows, so nothing is kept for it.

    Each map is let go as soon as it is used: a loop variable would keep it through the next one's making.
    """
    for part in parts:
        part = causal.with_past(part, cache)
        y = causal(part, cache)
        del part
        yield y
        del y
    if last:
        del cache[causal]


def affine(norm: nn.GroupNorm, parts: Parts) -> tuple[Tensor, Tensor]:
    """The group norm of all parts as x * scale + shift, [B, C, 1, 1, 1] each."""
    counts = [part.shape[2] for part in parts]
    grouped = [part.unflatten(1, (norm.num_groups, -1)) for part in parts]

    def average(values: Iterable[Tensor]) -> Tensor:
        means = (x.mean(dim=(2, 3, 4, 5), keepdim=True) * n for x, n in zip(values, counts, strict=True))
        return sum(means) / sum(counts)

    mean = average(grouped)
    rstd = (average((x - mean).square() for x in grouped) + norm.eps).rsqrt()
    mean, rstd = (y.expand(-1, -1, norm.num_channels // norm.num_groups, 1, 1, 1).flatten(1, 2) for y in (mean, rstd))
    scale = rstd * norm.weight[:, None, None, None]
    return scale, norm.bias[:, None, None, None] - mean * scale


def modulated(y: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """y * scale + bias, both on the latent grid; without gradients in place, one of them at full size at a time."""
    size = y.shape[2:]
    if y.requires_grad or scale.requires_grad:
        return torch.addcmul(resize(bias, size), y, resize(scale, size))
    odd = size[0] % 2 and size[0] > 1  # resize would join the first frame and the others, one more map
    for frames in (slice(0, 1), slice(1, None)) if odd else (slice(None),):
        part = y[:, :, frames]
        part.mul_(resize(scale[:, :, frames], part.shape[2:])).add_(resize(bias[:, :, frames], part.shape[2:]))
    return y


def resize(y: Tensor, size: tuple[int, int, int]) -> Tensor:
    """A map on the latent grid, resized (nearest) to (T, H, W); frame 0 of an odd group maps to frame 0 alone."""
    if y.shape[2:] == size:
        return y
    if size[0] % 2 and size[0] > 1:
        head = F.interpolate(y[:, :, :1], size=(1, *size[1:]), mode="nearest")
        rest = F.interpolate(y[:, :, 1:], size=(size[0] - 1, *size[1:]), mode="nearest")
        return torch.cat([head, rest], dim=2)
    return F.interpolate(y, size=size, mode="nearest")


def per_frame(conv: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A 2-D convolution of every frame of [B, C, T, H, W]."""
    y = conv(x.transpose(1, 2).flatten(0, 1))
    return y.unflatten(0, (x.shape[0], -1)).transpose(1, 2).contiguous()
