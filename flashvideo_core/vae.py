"""The causal 3D VAE (CogVideoX's), 8x8 in space and 4 in time, as the released code runs it.

Axes: B batch, C channels, T frames or latent frames, H, W. Frames are -1..1; latents are in VAE units.
A clip goes through in temporal groups (17, 16, 16, ... frames; 3, 2, 2, ... latent frames), and a group through each
layer in chunks (vae_chunks.py). What a causal convolution needs of the frames before is in `cache`, a dict that lives
for one encode or decode. Source: docs/released-model.md 3.10.
"""

import torch
from torch import Tensor, nn

from .config import VAEConfig
from .errors import InputError
from .sizes import clip_size
from .types import DrawNoise, ProgressCallback
from .vae_chunks import (
    AUTO,
    Chunks,
    ChunkSize,
    add_chunks,
    convolve_input,
    downsample_chunks,
    join_frames,
    norm_silu_conv,
    upsample_chunks,
)
from .vae_layers import Cache, CausalConv3d, Downsample, GroupNorm, SpatialNorm, Upsample

Norm = type[GroupNorm] | type[SpatialNorm]


class ResBlock(nn.Module):
    def __init__(self, cin: int, cout: int, norm: Norm, config: VAEConfig, ops=nn, **kw):
        super().__init__()
        self.norm1 = norm(cin, config, ops, **kw)
        self.conv1 = CausalConv3d(cin, cout, ops, **kw)
        self.norm2 = norm(cout, config, ops, **kw)
        self.conv2 = CausalConv3d(cout, cout, ops, **kw)
        self.skip = ops.Conv3d(cin, cout, 1, **kw) if cin != cout else nn.Identity()

    def forward(self, x: Chunks, z: Tensor | None, cache: Cache, last: bool) -> Chunks:
        h = norm_silu_conv(self.norm1, self.conv1, x, z, cache, last, residual=self.skip)
        h = norm_silu_conv(self.norm2, self.conv2, h, z, cache, last)
        return add_chunks(x, h)


class Level(nn.Module):
    """Residual blocks at one resolution, and (but for the last level) the change of resolution that follows them."""

    def __init__(
        self,
        cin: int,
        cout: int,
        count: int,
        norm: Norm,
        resample: Downsample | Upsample | None,
        config: VAEConfig,
        ops=nn,
        **kw,
    ):
        super().__init__()
        self.blocks = nn.ModuleList(
            ResBlock(cin if i == 0 else cout, cout, norm, config, ops, **kw) for i in range(count)
        )
        self.resample = resample

    def forward(self, x: Chunks, z: Tensor | None, cache: Cache, last: bool) -> Chunks:
        """The residual blocks."""
        for block in self.blocks:
            x = block(x, z, cache, last)
        return x


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

    def forward(self, x: Tensor, cache: Cache, last: bool = False, chunk_size: ChunkSize = AUTO) -> Tensor:
        """One group of frames [B, 3, F, H, W] -> mean and log variance, [B, 2 * 16, T, H/8, W/8].

        `last`: no group follows, and what only that one would need is freed.
        """
        x = convolve_input(self.conv_in, x, cache, chunk_size)
        for level in self.levels:
            x = level(x, None, cache, last)
            x = x if level.resample is None else downsample_chunks(level.resample, x, chunk_size)
        for block in self.mid:
            x = block(x, None, cache, last)
        return join_frames(norm_silu_conv(self.norm_out, self.conv_out, x, None, cache, last))


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
        self.widths = widths
        self.norm_out = SpatialNorm(widths[3], config, ops, **kw)
        self.conv_out = CausalConv3d(widths[3], 3, ops, **kw)

    def forward(self, z: Tensor, cache: Cache, first: bool, last: bool = False, chunk_size: ChunkSize = AUTO) -> Tensor:
        """One group of latent frames [B, 16, T, H, W] -> frames, not clamped; `first`, `last`: of the clip."""
        x = convolve_input(self.conv_in, z, cache, chunk_size)
        for block in self.mid:
            x = block(x, z, cache, last)
        for level, width in zip(self.levels, [*self.widths[1:], None], strict=True):  # the level's that follows
            x = level(x, z, cache, last)
            x = x if level.resample is None else upsample_chunks(level.resample, x, chunk_size, first, width)
        return join_frames(norm_silu_conv(self.norm_out, self.conv_out, x, z, cache, last))


class VAE(nn.Module):
    def __init__(self, config: VAEConfig, ops=nn, **kw):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config, ops, **kw)
        self.decoder = Decoder(config, ops, **kw)

    def encode(
        self,
        frames: Tensor,
        draw_noise: DrawNoise | None = None,
        callback: ProgressCallback | None = None,
        phase: str = "handoff",
        chunk_size: ChunkSize = AUTO,
    ) -> Tensor:
        """Frames [B, 3, 4n+1, 8H, 8W] in -1..1 -> latent [B, 16, n+1, H, W] in VAE units, float32.

        Groups of 17, 16, 16, ..., rest. Without `draw_noise` the posterior mean; with it a sample, one
        draw a group (`draw_noise(mean)` returns noise like mean), as released. Raises InputError for another
        frame count or sizes that are not multiples of 8.
        """
        check_frames(frames)
        cache, out = {}, []
        groups = encode_groups(frames.shape[2])
        for i, (start, stop) in enumerate(groups):
            last = stop == frames.shape[2]
            out.append(self.encode_group(frames[:, :, start:stop], cache, last, draw_noise, chunk_size))
            if callback is not None:
                callback(phase, i + 1, len(groups), None)
        return torch.cat(out, dim=2)

    def decode(
        self,
        z: Tensor,
        callback: ProgressCallback | None = None,
        phase: str = "decode",
        out: Tensor | None = None,
        chunk_size: ChunkSize = AUTO,
    ) -> Tensor:
        """Latent [B, 16, T, H, W] in VAE units -> frames [B, 3, 4T-3, 8H, 8W], float32, clamped to -1..1.

        Odd T: groups of 3, 2, 2, ... latent frames, as released; even T: 2, 2, 2, ... Every group is copied
        into `out` at once; one on the CPU keeps the frames out of the GPU's memory.
        """
        t = z.shape[2]
        if out is None:
            out = torch.empty(z.shape[0], 3, *clip_size(*z.shape[2:]), device=z.device)
        groups, done, cache = decode_groups(t), 0, {}
        for i, (start, stop) in enumerate(groups):
            frames = self.decode_group(z[:, :, start:stop], cache, i == 0, stop == t, chunk_size)
            out[:, :, done : done + frames.shape[2]] = frames
            done += frames.shape[2]
            if callback is not None:
                callback(phase, i + 1, len(groups), None)
        return out

    def encode_group(
        self,
        frames: Tensor,
        cache: Cache,
        last: bool,
        draw_noise: DrawNoise | None = None,
        chunk_size: ChunkSize = AUTO,
    ) -> Tensor:
        """The group of `encode_groups` that follows those whose past is in `cache` ({} before the first): frames
        [B, 3, F, 8H, 8W] -> latent [B, 16, T, H, W], float32, where the frames are. last: no group follows.
        """
        moments = self.encoder(self.cast_input(frames), cache, last, chunk_size).float()
        return sample_posterior(moments, draw_noise).to(frames.device)

    def decode_group(self, z: Tensor, cache: Cache, first: bool, last: bool, chunk_size: ChunkSize = AUTO) -> Tensor:
        """The group of `decode_groups` that follows those whose past is in `cache`: latent [B, 16, T, H, W] -> frames
        [B, 3, F, 8H, 8W] in -1..1, in the network's dtype, on its device. first, last: of the clip.
        """
        return self.decoder(self.cast_input(z), cache, first, last, chunk_size).clamp_(-1, 1)

    def cast_input(self, x: Tensor) -> Tensor:
        """x on the device and in the dtype of the network. ComfyUI, which moves weights about, overrides it."""
        return x.to(self.encoder.conv_in.conv.weight)


def encode_groups(frames: int) -> list[tuple[int, int]]:
    """Frame ranges that go through the encoder at once: 17, then 16s, then what is left."""
    starts = [0, *range(17, frames, 16)]
    return list(zip(starts, [*starts[1:], frames], strict=True))


def decode_groups(t: int) -> list[tuple[int, int]]:
    """Latent frame ranges that go through the decoder at once: 3, 2, 2, ... (odd T) or 2, 2, ... (even T)."""
    starts = [0, *range(3 if t % 2 else 2, t, 2)]
    return list(zip(starts, [*starts[1:], t], strict=True))


def sample_posterior(moments: Tensor, draw_noise: DrawNoise | None) -> Tensor:
    """The mean, or mean + std * noise, of moments [B, 2C, ...] whose halves are mean and log variance."""
    mean, logvar = moments.chunk(2, dim=1)
    if draw_noise is None:
        return mean
    return mean + torch.exp(0.5 * logvar.clamp(-30, 20)) * draw_noise(mean)


def check_frames(frames: Tensor) -> None:
    """Raises InputError unless frames are [B, 3, 4n+1, 8H, 8W]."""
    if frames.ndim != 5 or frames.shape[1] != 3:
        raise InputError(f"frames have shape {tuple(frames.shape)}; [B, 3, F, H, W] is needed")
    count, height, width = frames.shape[2:]
    if count % 4 != 1:
        raise InputError(f"{count} frames: the frame count must be 4n+1 (1, 5, 9, ...)")
    if height % 8 or width % 8:
        raise InputError(f"size {width}x{height}: width and height must be multiples of 8")
