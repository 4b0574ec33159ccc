"""What a VAE pass takes, and how it is split to fit."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Literal

import torch

from ..config import VAEConfig
from ..meta_trace import MemoryTrace, trace_memory
from ..sizes import clip_size, latent_size
from ..vae import VAE
from ..vae_chunks import ChunkSize, default_chunk_pixels
from .free import USABLE_SHARE

VAEKind = Literal["decode", "encode"]
VAESplit = int | tuple[int, int] | None
"""None: the whole picture, as it is quickest. An int: its feature maps in chunks of so many pixels, which changes
nothing but the rounding. (height, width): latent tiles, blended where they overlap."""

INDEX_LIMIT = 2**31 - 1  # elements of one tensor that every CUDA kernel can address
TILE_OVERLAP = 1 / 4  # of a tile's shorter side
MIN_TILE = 24  # latent rows and columns
TRACED_FRAMES = {"decode": 25, "encode": 49}  # three temporal groups: later ones take no more
GROUP_FRAMES = 19  # at most, with those of the past
PASS_BOUND = 5  # maps of a group, as if the widest were at full resolution: more than any pass takes (tested)


@dataclass(frozen=True)
class VAEPlan:
    """How a pass is split, and its estimated peak in bytes beside weights and input."""

    split: VAESplit
    peak: int


def is_tiled(split: VAESplit) -> bool:
    return isinstance(split, tuple)


def describe_split(split: VAESplit) -> str:
    """For people, sides as height x width."""
    if is_tiled(split):
        return f"in tiles of {8 * split[0]}x{8 * split[1]} pixels"
    return "in one piece" if split is None else "a frame at a time"


def tile_overlap(tile: tuple[int, int]) -> int:
    """Latent rows and columns that neighbouring tiles (height, width) share."""
    return max(2, int(min(tile) * TILE_OVERLAP))


def plan_vae_split(
    config: VAEConfig, kind: VAEKind, clip: tuple[int, int, int], dtype: torch.dtype, device: torch.device, free: int
) -> VAESplit:
    """The split of `plan_vae`, without its counting (seconds, for a CPU's many chunks) where all is sure to fit."""
    elements = GROUP_FRAMES * config.channels * max(config.multipliers) * clip[1] * clip[2]
    if elements <= INDEX_LIMIT and PASS_BOUND * elements * dtype.itemsize <= USABLE_SHARE * free:
        return None
    return plan_vae(config, kind, clip, dtype, device, free).split


def plan_vae(
    config: VAEConfig, kind: VAEKind, clip: tuple[int, int, int], dtype: torch.dtype, device: torch.device, free: int
) -> VAEPlan:
    """The first split of a clip (frames, height, width) that fits into `free` bytes and CUDA's indices, or the last."""
    for split in candidate_splits(clip):
        tile, pixels = ((8 * split[0], 8 * split[1]), None) if is_tiled(split) else (clip[1:], split)
        peak = vae_peak(config, kind, (clip[0], *tile), dtype, device, pixels)
        traced = (min(clip[0], TRACED_FRAMES[kind]), *tile)
        largest = trace_vae_pass(config, kind, traced, dtype, device, pixels).largest
        if largest <= INDEX_LIMIT and peak <= USABLE_SHARE * free:
            break
    return VAEPlan(split, peak)


def candidate_splits(clip: tuple[int, int, int]) -> Iterator[VAESplit]:
    """From the whole clip (frames, height, width) over a frame a chunk down to the smallest tile."""
    height, width = clip[1] // 8, clip[2] // 8
    yield None
    yield clip[1] * clip[2]
    count, tile = 2, (height, width)
    while max(tile) > MIN_TILE:
        tile = tuple(min(side, max(MIN_TILE, -(-side // count) + 8)) for side in (height, width))
        yield tile
        count += 1


def vae_peak(
    config: VAEConfig,
    kind: VAEKind,
    clip: tuple[int, int, int],
    dtype: torch.dtype,
    device: torch.device,
    pixels: int | None = None,
) -> int:
    """Peak bytes of a pass over a clip (frames, height, width) beside weights and input, with all decoded frames in
    float32, though a pipeline keeps those on the host. pixels: of a chunk (vae_chunks.ChunkSize).
    """
    traced = min(clip[0], TRACED_FRAMES[kind])
    out = 4 * 3 * (clip[0] - traced) * clip[1] * clip[2] if kind == "decode" else 0
    return out + trace_vae_pass(config, kind, (traced, *clip[1:]), dtype, device, pixels).peak


@lru_cache(maxsize=1024)
def trace_vae_pass(
    config: VAEConfig,
    kind: VAEKind,
    clip: tuple[int, int, int],
    dtype: torch.dtype,
    device: torch.device,
    pixels: int | None,
) -> MemoryTrace:
    """A pass on tensors without data; what no pass takes of a size (4n+1 frames, multiples of 8) is left out."""
    t, h, w = latent_size(*clip)
    with torch.device("meta"):
        vae = VAE(config, dtype=dtype)
        x = (
            torch.empty(1, config.latent_channels, t, h, w)
            if kind == "decode"
            else torch.empty(1, 3, *clip_size(t, h, w))
        )
    chunk_size = ChunkSize(default_chunk_pixels(device, dtype) if pixels is None else pixels)
    run = partial(getattr(vae, kind), x, chunk_size=chunk_size)
    # measured on a CPU and on an H200: within 5 % with the copies, up to 31 % too low without
    return trace_memory(run, x, *vae.parameters(), reordered=device.type in ("cpu", "cuda"))
