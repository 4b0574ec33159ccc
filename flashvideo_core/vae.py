"""The causal 3D VAE (CogVideoX's), 8x8 in space and 4 in time, as the released code runs it.

Axes: B batch, C channels, T frames or latent frames, H, W. Frames are -1..1; latents are in VAE units.
A clip goes through in temporal groups (17, 16, 16, ... frames; 3, 2, 2, ... latent frames). What a
causal convolution needs of the group before is in `cache`, a dict that lives for one encode or decode.
Source: golden README 3.10.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import VAEConfig

Cache = dict[nn.Module, Tensor]


class CausalConv3d(nn.Module):
    """A 3x3x3 convolution that sees two frames of the past: the cached ones, or the first frame twice."""

    def __init__(self, cin: int, cout: int, ops=nn, **kw):
        super().__init__()
        self.conv = ops.Conv3d(cin, cout, 3, padding=(0, 1, 1), **kw)

    def forward(self, x: Tensor, cache: Cache) -> Tensor:
        past = cache.pop(self, None)
        if past is None:
            past = x[:, :, :1].expand(-1, -1, 2, -1, -1)
        x = torch.cat([past, x], dim=2)
        cache[self] = x[:, :, -2:].clone()  # a view would keep the whole group alive
        return self.conv(x)


class GroupNorm(nn.Module):
    """The encoder's norm: statistics over all frames of the group and all pixels of the tile."""

    def __init__(self, channels: int, config: VAEConfig, ops=nn, **kw):
        super().__init__()
        self.norm = ops.GroupNorm(config.groups, channels, eps=1e-6, **kw)

    def forward(self, x: Tensor, z: Tensor | None) -> Tensor:
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

    def forward(self, x: Tensor, z: Tensor | None) -> Tensor:
        return torch.addcmul(resize_like(self.bias(z), x), self.norm(x), resize_like(self.scale(z), x))


class ResBlock(nn.Module):
    def __init__(self, cin: int, cout: int, norm: type, config: VAEConfig, ops=nn, **kw):
        super().__init__()
        self.norm1 = norm(cin, config, ops, **kw)
        self.conv1 = CausalConv3d(cin, cout, ops, **kw)
        self.norm2 = norm(cout, config, ops, **kw)
        self.conv2 = CausalConv3d(cout, cout, ops, **kw)
        self.skip = ops.Conv3d(cin, cout, 1, **kw) if cin != cout else nn.Identity()

    def forward(self, x: Tensor, z: Tensor | None, cache: Cache) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x, z)), cache)
        h = self.conv2(F.silu(self.norm2(h, z)), cache)
        return self.skip(x) + h


class Downsample(nn.Module):
    """Halves time first (averages, frame 0 of an odd group apart), then space."""

    def __init__(self, channels: int, halve_time: bool, ops=nn, **kw):
        super().__init__()
        self.halve_time = halve_time
        self.conv = ops.Conv2d(channels, channels, 3, stride=2, **kw)

    def forward(self, x: Tensor) -> Tensor:
        if self.halve_time and x.shape[2] > 1:
            first = x.shape[2] % 2
            pairs = x[:, :, first:].unflatten(2, (-1, 2)).mean(3)
            x = torch.cat([x[:, :, :1], pairs], dim=2) if first else pairs
        return per_frame(self.conv, F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Doubles space, and time if asked for; the first frame of a clip is never doubled in time."""

    def __init__(self, channels: int, double_time: bool, ops=nn, **kw):
        super().__init__()
        self.double_time = double_time
        self.conv = ops.Conv2d(channels, channels, 3, padding=1, **kw)

    def forward(self, x: Tensor, first: bool) -> Tensor:
        if self.double_time:
            head = x[:, :, : int(first)]
            x = torch.cat([head, x[:, :, int(first) :].repeat_interleave(2, dim=2)], dim=2)
        return per_frame(self.conv, F.interpolate(x, scale_factor=(1, 2, 2), mode="nearest"))


class Level(nn.Module):
    """Residual blocks at one resolution, then (but for the last level) a change of resolution."""

    def __init__(self, cin: int, cout: int, count: int, norm: type, resample, config: VAEConfig, ops=nn, **kw):
        super().__init__()
        self.blocks = nn.ModuleList(
            ResBlock(cin if i == 0 else cout, cout, norm, config, ops, **kw) for i in range(count)
        )
        self.resample = resample


class Encoder(nn.Module):
    def __init__(self, config: VAEConfig, ops=nn, **kw):
        super().__init__()
        widths = [config.channels * m for m in config.multipliers]
        self.conv_in = CausalConv3d(3, widths[0], ops, **kw)
        self.levels = nn.ModuleList()
        for i, (cin, cout) in enumerate(zip([widths[0], *widths], widths, strict=False)):
            down = Downsample(cout, i < 2, ops, **kw) if i < 3 else None
            self.levels.append(Level(cin, cout, config.blocks, GroupNorm, down, config, ops, **kw))
        self.mid = nn.ModuleList(ResBlock(widths[3], widths[3], GroupNorm, config, ops, **kw) for _ in range(2))
        self.norm_out = GroupNorm(widths[3], config, ops, **kw)
        self.conv_out = CausalConv3d(widths[3], 2 * config.latent_channels, ops, **kw)

    def forward(self, x: Tensor, cache: Cache) -> Tensor:
        """One group of frames [B, 3, F, H, W] -> mean and log variance, [B, 2 * 16, T, H/8, W/8]."""
        x = self.conv_in(x, cache)
        for level in self.levels:
            for block in level.blocks:
                x = block(x, None, cache)
            x = level.resample(x) if level.resample is not None else x
        for block in self.mid:
            x = block(x, None, cache)
        return self.conv_out(F.silu(self.norm_out(x, None)), cache)


class Decoder(nn.Module):
    def __init__(self, config: VAEConfig, ops=nn, **kw):
        super().__init__()
        widths = [config.channels * m for m in reversed(config.multipliers)]
        self.conv_in = CausalConv3d(config.latent_channels, widths[0], ops, **kw)
        self.mid = nn.ModuleList(ResBlock(widths[0], widths[0], SpatialNorm, config, ops, **kw) for _ in range(2))
        self.levels = nn.ModuleList()
        for i, (cin, cout) in enumerate(zip([widths[0], *widths], widths, strict=False)):
            up = Upsample(cout, i < 2, ops, **kw) if i < 3 else None
            self.levels.append(Level(cin, cout, config.blocks + 1, SpatialNorm, up, config, ops, **kw))
        self.norm_out = SpatialNorm(widths[3], config, ops, **kw)
        self.conv_out = CausalConv3d(widths[3], 3, ops, **kw)

    def forward(self, z: Tensor, cache: Cache, first: bool) -> Tensor:
        """One group of latent frames [B, 16, T, H, W] -> frames, not clamped; `first`: of the clip."""
        x = self.conv_in(z, cache)
        for block in self.mid:
            x = block(x, z, cache)
        for level in self.levels:
            for block in level.blocks:
                x = block(x, z, cache)
            x = level.resample(x, first) if level.resample is not None else x
        return self.conv_out(F.silu(self.norm_out(x, z)), cache)


class VAE(nn.Module):
    def __init__(self, config: VAEConfig, ops=nn, **kw):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config, ops, **kw)
        self.decoder = Decoder(config, ops, **kw)

    def encode(
        self,
        frames: Tensor,
        draw_noise: Callable[[Tensor], Tensor] | None = None,
        callback: Callable | None = None,
        phase: str = "handoff",
    ) -> Tensor:
        """Frames [B, 3, 4n+1, 8H, 8W] in -1..1 -> latent [B, 16, n+1, H, W] in VAE units, float32.

        Groups of 17, 16, 16, ..., rest. Without `draw_noise` the posterior mean; with it a sample, one
        draw a group (`draw_noise(mean)` returns noise like mean), as released. Raises ValueError for
        another frame count or sizes that are not multiples of 8.
        """
        check_frames(frames)
        cache, out = {}, []
        groups = encode_groups(frames.shape[2])
        for i, (start, stop) in enumerate(groups):
            moments = self.encoder(self.place(frames[:, :, start:stop]), cache).float()
            out.append(sample_posterior(moments, draw_noise).to(frames.device))
            if callback is not None:
                callback(phase, i + 1, len(groups), None)
        return torch.cat(out, dim=2)

    def decode(
        self, z: Tensor, callback: Callable | None = None, phase: str = "decode", out: Tensor | None = None
    ) -> Tensor:
        """Latent [B, 16, T, H, W] in VAE units -> frames [B, 3, 4T-3, 8H, 8W], float32, clamped to -1..1.

        Odd T: groups of 3, 2, 2, ... latent frames, as released; even T: 2, 2, 2, ... Every group is copied
        into `out` at once; one on the CPU keeps the frames out of the GPU's memory.
        """
        b, _, t, h, w = z.shape
        if out is None:
            out = torch.empty(b, 3, 4 * t - 3, 8 * h, 8 * w, device=z.device)
        groups, done, cache = decode_groups(t), 0, {}
        for i, (start, stop) in enumerate(groups):
            frames = self.decoder(self.place(z[:, :, start:stop]), cache, first=i == 0)
            out[:, :, done : done + frames.shape[2]] = frames.clamp_(-1, 1)
            done += frames.shape[2]
            if callback is not None:
                callback(phase, i + 1, len(groups), None)
        return out

    def place(self, x: Tensor) -> Tensor:
        """x where and as the network computes. ComfyUI, which moves weights about, overrides it."""
        return x.to(self.encoder.conv_in.conv.weight)


def encode_groups(frames: int) -> list[tuple[int, int]]:
    """Frame ranges that go through the encoder at once: 17, then 16s, then what is left."""
    starts = [0, *range(17, frames, 16)]
    return list(zip(starts, [*starts[1:], frames], strict=True))


def decode_groups(t: int) -> list[tuple[int, int]]:
    """Latent frame ranges that go through the decoder at once: 3, 2, 2, ... (odd T) or 2, 2, ... (even T)."""
    starts = [0, *range(3 if t % 2 else 2, t, 2)]
    return list(zip(starts, [*starts[1:], t], strict=True))


def sample_posterior(moments: Tensor, draw_noise: Callable[[Tensor], Tensor] | None) -> Tensor:
    """The mean, or mean + std * noise, of moments [B, 2C, ...] whose halves are mean and log variance."""
    mean, logvar = moments.chunk(2, dim=1)
    if draw_noise is None:
        return mean
    return mean + torch.exp(0.5 * logvar.clamp(-30, 20)) * draw_noise(mean)


def resize_like(y: Tensor, x: Tensor) -> Tensor:
    """A map on the latent grid, resized (nearest) to x; frame 0 of an odd group maps to frame 0 alone."""
    size = x.shape[2:]
    if y.shape[2:] == size:
        return y
    if size[0] % 2 and size[0] > 1:
        head = F.interpolate(y[:, :, :1], size=(1, *size[1:]), mode="nearest")
        rest = F.interpolate(y[:, :, 1:], size=(size[0] - 1, *size[1:]), mode="nearest")
        return torch.cat([head, rest], dim=2)
    return F.interpolate(y, size=size, mode="nearest")


def per_frame(conv: nn.Module, x: Tensor) -> Tensor:
    """A 2-D convolution of every frame of [B, C, T, H, W]."""
    y = conv(x.transpose(1, 2).flatten(0, 1))
    return y.unflatten(0, (x.shape[0], -1)).transpose(1, 2)


def check_frames(frames: Tensor) -> None:
    if frames.ndim != 5 or frames.shape[1] != 3:
        raise ValueError(f"frames have shape {tuple(frames.shape)}; [B, 3, F, H, W] is needed")
    count, height, width = frames.shape[2:]
    if count % 4 != 1:
        raise ValueError(f"{count} frames: the frame count must be 4n+1 (1, 5, 9, ...)")
    if height % 8 or width % 8:
        raise ValueError(f"size {width}x{height}: width and height must be multiples of 8")
