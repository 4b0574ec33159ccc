"""The VAE's feature maps in chunks of a few frames, so that of a residual block only its input and its inner map are
ever whole.

Where gradients are recorded, and on a GPU unless it is asked for less, there is one chunk. On a CPU a chunk has as few
frames as stay quick. A list of chunks that a function takes is emptied by it, unless it says otherwise: a chunk is let
go as soon as what is made of it exists. Measured beside this and not kept: Winograd's convolutions in channels-last
(0.9 to 1.4 of the direct ones' time), a 2-D convolution over three frames as channels (1.0 to 1.8).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .chunks import records_gradients
from .vae_layers import Cache, CausalConv3d, Downsample, GroupNorm, SpatialNorm, Upsample, resize_nearest

Chunks = list[Tensor]
"""A feature map as chunks [B, C, T, H, W] that follow each other in time."""

QUICK = 4096  # pixels of a chunk on a CPU: with fewer a convolution spends its time on its weights
WHOLE = 2**62  # pixels: of the whole map


@dataclass(frozen=True)
class ChunkSize:
    """How much of a feature map goes through a layer at once."""

    pixels: int | None = None  # frames x height x width; None: what is quick on the map's device
    unfolded: int = 20480  # channels x frames x height up to which torch unfolds a convolution's input, which is slow

    def split(self, x: Tensor, channels: int) -> list[int]:
        """How many frames each chunk of x [B, C, T, H, W] has, whose maps have no fewer than so many channels.

        One, or an even number so that pairs stay together (frame 0 of an odd T goes with the first chunk); where torch
        would unfold fewer of them, as many as it does not.
        """
        frames, height, width = x.shape[2:]
        pixels = default_chunk_pixels(x.device, x.dtype) if self.pixels is None else self.pixels
        shortest = max(1, self.unfolded // (channels * height) - 1)  # a convolution sees two more
        count = max(1, pixels // (height * width) // 2 * 2, shortest + shortest % 2 if shortest > 1 else 1)
        if count >= frames:
            return [frames]
        if count == 1:
            return [1] * frames
        head = (count - 1 if count > shortest else count + 1) * (frames % 2)
        counts = [head] * (head > 0) + [count] * ((frames - head) // count)
        rest = frames - sum(counts)
        return [*counts, rest] if rest >= shortest else [*counts[:-1], counts[-1] + rest]


AUTO = ChunkSize()


def default_chunk_pixels(device: torch.device, dtype: torch.dtype) -> int:
    return QUICK if device.type == "cpu" and dtype == torch.float32 else WHOLE


def split_frames(x: Tensor, chunk_size: ChunkSize, channels: int | None = None) -> Chunks:
    """x [B, C, T, H, W] in chunks. Whole where gradients are recorded. They are copies: a view would keep all of x.

    channels: of the narrowest map that is made of them before they are split again (default: C).
    """
    counts = chunk_size.split(x, channels or x.shape[1])
    if len(counts) == 1 or x.requires_grad:
        return [x]
    return [chunk.clone() for chunk in x.split(counts, dim=2)]


def join_frames(chunks: Chunks) -> Tensor:
    """The whole map; the chunks stay."""
    return chunks[0] if len(chunks) == 1 else torch.cat(chunks, dim=2)


def convolve_input(conv: CausalConv3d, x: Tensor, cache: Cache, chunk_size: ChunkSize) -> Chunks:
    """The first convolution, of frames or latents x [B, C, T, H, W]; whole where it is trained."""
    chunk_size = replace(chunk_size, pixels=WHOLE) if records_gradients(conv, x) else chunk_size
    out = []
    for chunk in split_frames(x, chunk_size):
        out += split_frames(conv(conv.pad_with_past(chunk, cache), cache), chunk_size)
    return out


def norm_silu_conv(
    norm: GroupNorm | SpatialNorm,
    conv: CausalConv3d,
    x: Chunks,
    z: Tensor | None,
    cache: Cache,
    last: bool,
    residual: Callable[[Tensor], Tensor] | None = None,
) -> Chunks:
    """conv(silu(norm(x, z))). Of the normalized map one chunk lives at a time.

    residual: x is not emptied, but becomes residual(x). last: no group follows, and nothing is kept in the cache.
    """
    normalized, out = normalize_chunks(norm, x, z), []
    for i in range(len(x)):
        y = next(normalized)
        x[i] = None if residual is None else residual(x[i])
        y = conv.pad_with_past(F.silu(y, inplace=not y.requires_grad), cache)
        out.append(conv(y, cache))
        del y  # else it would live until the next chunk is normalized
    if last:
        del cache[conv]
    return out


def normalize_chunks(norm: GroupNorm | SpatialNorm, x: Chunks, z: Tensor | None) -> Iterator[Tensor]:
    """norm(x, z) chunk by chunk, with statistics of all chunks; they stay, but x[i] is not read after the i-th."""
    if len(x) == 1:
        yield norm(x[0], z)
        return
    scale, shift = fit_group_norm(norm.norm, x)
    if isinstance(norm, GroupNorm):
        for i in range(len(x)):
            yield torch.addcmul(shift, x[i], scale)
        return
    counts = [chunk.shape[2] for chunk in x]
    factor, offset = (resize_nearest(y, (sum(counts), *z.shape[3:])) for y in (norm.scale(z), norm.bias(z)))
    factor, offset = factor * scale, torch.addcmul(offset, factor, shift)
    for i, (f, o) in enumerate(zip(factor.split(counts, dim=2), offset.split(counts, dim=2), strict=True)):
        yield (x[i] * resize_nearest(f, x[i].shape[2:])).add_(resize_nearest(o, x[i].shape[2:]))


def fit_group_norm(norm: nn.GroupNorm, x: Chunks) -> tuple[Tensor, Tensor]:
    """The group norm of all chunks, which stay, as x * scale + shift: [B, C, 1, 1, 1] each."""
    counts = [chunk.shape[2] for chunk in x]
    grouped = [chunk.unflatten(1, (norm.num_groups, -1)) for chunk in x]

    def average(values: Iterable[Tensor]) -> Tensor:
        means = (x.mean(dim=(2, 3, 4, 5), keepdim=True) * n for x, n in zip(values, counts, strict=True))
        return sum(means) / sum(counts)

    mean = average(grouped)
    rstd = (average((x - mean).square() for x in grouped) + norm.eps).rsqrt()
    mean, rstd = (y.expand(-1, -1, norm.num_channels // norm.num_groups, 1, 1, 1).flatten(1, 2) for y in (mean, rstd))
    scale = rstd * norm.weight[:, None, None, None]
    return scale, norm.bias[:, None, None, None] - mean * scale


def add_chunks(x: Chunks, y: Chunks) -> Chunks:
    """x + y, in the memory of y's chunks."""
    out = [b.add_(a) for a, b in zip(x, y, strict=True)]
    x.clear()
    return out


def downsample_chunks(layer: Downsample, x: Chunks, chunk_size: ChunkSize) -> Chunks:
    """Pairs of frames go through the layer together where it halves time."""
    even, out = sum(chunk.shape[2] for chunk in x) % 2 == 0, []
    while x:
        chunk = x.pop(0)
        if layer.halve_time and chunk.shape[2] == 1 and x and (even or out):
            chunk = torch.cat([chunk, x.pop(0)], dim=2)
        out.append(layer(chunk))
    return split_frames(join_frames(out), chunk_size)


def upsample_chunks(layer: Upsample, x: Chunks, chunk_size: ChunkSize, first: bool, channels: int) -> Chunks:
    """first: the map begins with the first frame of a clip; channels: as in `split_frames`."""
    out = []
    while x:
        out += split_frames(layer(x.pop(0), first and not out), chunk_size, channels)
    return out
