"""The causal 3D VAE (CogVideoX's), 8x8 in space and 4 in time, as the released code runs it.

Axes: B batch, C channels, T frames or latent frames, H, W. Frames are -1..1; latents are in VAE units.
A clip goes through in temporal groups (17, 16, 16, ... frames; 3, 2, 2, ... latent frames). What a
causal convolution needs of the group before is in `cache`, a dict that lives for one encode or decode.
Source: golden README 3.10.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .config import VAEConfig
from .errors import InputError
from .sizes import clip_size
from .vae_layers import (
    Cache,
    CausalConv3d,
    Downsample,
    GroupNorm,
    ResBlock,
    SpatialNorm,
    Upsample,
    activated,
    convolved,
    entered,
    join,
)


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

    def forward(self, x: Tensor, cache: Cache, last: bool = False, pixels: int | None = None) -> Tensor:
        """One group of frames [B, 3, F, H, W] -> mean and log variance, [B, 2 * 16, T, H/8, W/8].

        `last`: no group follows, and what only that one would need is freed. pixels: see vae_layers.split.
        """
        parts = entered(self.conv_in, x, cache, pixels)
        for level in self.levels:
            for block in level.blocks:
                parts = block(parts, None, cache, last)
            parts = level.resample(parts, pixels) if level.resample is not None else parts
        for block in self.mid:
            parts = block(parts, None, cache, last)
        return join(list(convolved(self.conv_out, activated(self.norm_out, parts, None), cache, last)))


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

    def forward(self, z: Tensor, cache: Cache, first: bool, last: bool = False, pixels: int | None = None) -> Tensor:
        """One group of latent frames [B, 16, T, H, W] -> frames, not clamped; `first`, `last`: of the clip."""
        parts = entered(self.conv_in, z, cache, pixels)
        for block in self.mid:
            parts = block(parts, z, cache, last)
        for level in self.levels:
            for block in level.blocks:
                parts = block(parts, z, cache, last)
            parts = level.resample(parts, pixels, first) if level.resample is not None else parts
        return join(list(convolved(self.conv_out, activated(self.norm_out, parts, z), cache, last)))


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
        pixels: int | None = None,
    ) -> Tensor:
        """Frames [B, 3, 4n+1, 8H, 8W] in -1..1 -> latent [B, 16, n+1, H, W] in VAE units, float32.

        Groups of 17, 16, 16, ..., rest. Without `draw_noise` the posterior mean; with it a sample, one
        draw a group (`draw_noise(mean)` returns noise like mean), as released. pixels: of the parts in which
        feature maps are held (vae_layers.split). Raises ValueError for another frame count or sizes that are not
        multiples of 8.
        """
        check_frames(frames)
        cache, out = {}, []
        groups = encode_groups(frames.shape[2])
        for i, (start, stop) in enumerate(groups):
            group, last = self.place(frames[:, :, start:stop]), stop == frames.shape[2]
            moments = self.encoder(group, cache, last, pixels).float()
            out.append(sample_posterior(moments, draw_noise).to(frames.device))
            if callback is not None:
                callback(phase, i + 1, len(groups), None)
        return torch.cat(out, dim=2)

    def decode(
        self,
        z: Tensor,
        callback: Callable | None = None,
        phase: str = "decode",
        out: Tensor | None = None,
        pixels: int | None = None,
    ) -> Tensor:
        """Latent [B, 16, T, H, W] in VAE units -> frames [B, 3, 4T-3, 8H, 8W], float32, clamped to -1..1.

        Odd T: groups of 3, 2, 2, ... latent frames, as released; even T: 2, 2, 2, ... Every group is copied
        into `out` at once; one on the CPU keeps the frames out of the GPU's memory. pixels as in `encode`.
        """
        t = z.shape[2]
        if out is None:
            out = torch.empty(z.shape[0], 3, *clip_size(*z.shape[2:]), device=z.device)
        groups, done, cache = decode_groups(t), 0, {}
        for i, (start, stop) in enumerate(groups):
            frames = self.decoder(self.place(z[:, :, start:stop]), cache, i == 0, stop == t, pixels)
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


def check_frames(frames: Tensor) -> None:
    if frames.ndim != 5 or frames.shape[1] != 3:
        raise InputError(f"frames have shape {tuple(frames.shape)}; [B, 3, F, H, W] is needed")
    count, height, width = frames.shape[2:]
    if count % 4 != 1:
        raise InputError(f"{count} frames: the frame count must be 4n+1 (1, 5, 9, ...)")
    if height % 8 or width % 8:
        raise InputError(f"size {width}x{height}: width and height must be multiples of 8")
