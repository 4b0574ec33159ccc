"""A small decoder that stands in for the VAE's: quicker by an order of magnitude, and close to its picture.

The layout is TAEHV's (github.com/madebyollin/taehv), whose taecvx files are for CogVideoX's VAE and take its
latents unscaled. All convolutions are of single frames; time enters through memory blocks, which see the frame before,
and grows in the last two levels. A clip goes through latent frame by latent frame, so memory does not grow with it.

Axes: B batch, C channels, T latent frames or frames, H, W.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import SmallDecoderConfig
from .sizes import clip_size
from .types import ProgressCallback
from .vae_upsample import convolve_enlarged

GROWTH = (1, 2, 2)  # frames that each level makes of one
BLOCKS = 3  # memory blocks of a level
PAST = BLOCKS * len(GROWTH)  # latent frames before it, at most, that a frame depends on
START = 3  # frames of the first latent frame that are dropped: it stands for one frame, every other for four

Cache = dict[nn.Module, Tensor]
"""The last frame that each memory block saw, for the frames that follow. Lives for one decode."""


class MemoryBlock(nn.Module):
    """Three convolutions of a frame and the frame before it, and a skip. Before the first frame there are zeros."""

    def __init__(self, width: int, ops=nn, **kw):
        super().__init__()
        self.convs = nn.ModuleList(ops.Conv2d(cin, width, 3, padding=1, **kw) for cin in (2 * width, width, width))

    def forward(self, x: Tensor, cache: Cache) -> Tensor:
        """x [B, T, C, H, W] -> the same shape."""
        past = cache.pop(self) if self in cache else torch.zeros_like(x[:, :1])
        cache[self] = x[:, -1:].clone()  # a view would keep the whole group alive
        h = torch.cat([x, torch.cat([past, x[:, :-1]], dim=1)], dim=2).flatten(0, 1)
        first, second, third = self.convs
        h = third(F.relu(second(F.relu(first(h)))))
        return F.relu(h.unflatten(0, x.shape[:2]) + x)


class Level(nn.Module):
    """Memory blocks at one resolution, the growth of time, and the convolution of the picture at twice the size."""

    def __init__(self, width: int, out_width: int, growth: int, ops=nn, **kw):
        super().__init__()
        self.blocks = nn.ModuleList(MemoryBlock(width, ops, **kw) for _ in range(BLOCKS))
        self.grow = ops.Conv2d(width, growth * width, 1, bias=False, **kw)
        self.enlarge = ops.Conv2d(width, out_width, 3, padding=1, bias=False, **kw)
        self.growth = growth

    def forward(self, x: Tensor, cache: Cache) -> Tensor:
        """Blocks and growth: [B, T, C, H, W] -> [B, growth * T, C, H, W].

        The layout grows after the enlargement; a 1x1 convolution commutes with it, and before it costs a quarter.
        """
        for block in self.blocks:
            x = block(x, cache)
        grown = self.grow(x.flatten(0, 1)).unflatten(1, (self.growth, -1))
        return grown.flatten(0, 1).unflatten(0, (x.shape[0], -1))


class SmallDecoder(nn.Module):
    def __init__(self, config: SmallDecoderConfig, ops=nn, **kw):
        super().__init__()
        self.config = config
        widths = config.widths
        self.conv_in = ops.Conv2d(config.latent_channels, widths[0], 3, padding=1, **kw)
        self.levels = nn.ModuleList(
            Level(width, out_width, growth, ops, **kw)
            for width, out_width, growth in zip(widths[:3], widths[1:], GROWTH, strict=True)
        )
        self.conv_out = ops.Conv2d(widths[3], 3, 3, padding=1, **kw)

    def forward(self, z: Tensor, cache: Cache) -> Tensor:
        """Latent frames [B, 16, T, h, w] -> frames [B, 3, 4T, 8h, 8w] in about 0..1; the cache is updated in place."""
        x = z.transpose(1, 2)
        x = F.relu(self.conv_in(3 * torch.tanh(x.flatten(0, 1) / 3))).unflatten(0, x.shape[:2])
        *inner, last = self.levels
        for level in inner:
            grown = level(x, cache)
            x = convolve_enlarged(level.enlarge, grown.flatten(0, 1)).unflatten(0, grown.shape[:2])
        frames = last(x, cache).unbind(1)  # one at a time: at full size they are what takes memory
        return torch.stack([self.conv_out(F.relu(convolve_enlarged(last.enlarge, frame))) for frame in frames], dim=2)

    def decode(
        self, z: Tensor, callback: ProgressCallback | None = None, phase: str = "decode", out: Tensor | None = None
    ) -> Tensor:
        """As VAE.decode: latent [B, 16, T, h, w] in VAE units -> frames [B, 3, 4T-3, 8h, 8w] in -1..1, float32.

        Every latent frame's frames are copied into `out` at once; one on the CPU keeps them out of the GPU's memory.
        """
        total, done, cache = z.shape[2], 0, {}
        if out is None:
            out = torch.empty(z.shape[0], 3, *clip_size(*z.shape[2:]), device=z.device)
        for i in range(total):
            frames = self.decode_frame(z[:, :, i : i + 1], cache, i == 0)
            out[:, :, done : done + frames.shape[2]] = frames
            done += frames.shape[2]
            if callback is not None:
                callback(phase, i + 1, total, None)
        return out

    def decode_frame(self, z: Tensor, cache: Cache, first: bool) -> Tensor:
        """A latent frame [B, 16, 1, h, w] -> its frames in -1..1, float32: four, or one of the `first` of the clip."""
        frames = self(self.cast_input(z), cache)[:, :, START if first else 0 :]
        return frames.float().clamp_(0, 1).mul_(2).sub_(1)

    def cast_input(self, z: Tensor) -> Tensor:
        """z on the device and in the dtype of the network. ComfyUI, which moves weights about, overrides it."""
        return z.to(self.conv_in.weight)
