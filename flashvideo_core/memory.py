"""What fits: free memory, what a transformer or VAE pass needs, and how the VAE's pass is cut to fit.

A cut is None (the whole picture as it is quickest), a number of pixels (its feature maps in parts of so many, which
changes nothing but the rounding), or a latent tile (height, width): tiles, blended where they overlap.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import torch
from torch import nn

from .config import TransformerConfig, VAEConfig
from .dit import Transformer
from .meta_trace import MemoryTrace, trace_memory
from .vae import VAE
from .vae_chunks import ChunkSize, default_chunk_pixels

VAESplit = int | tuple[int, int] | None
INDEX_LIMIT = 2**31 - 1  # elements of one tensor that every CUDA kernel can address
SHARE = 0.7  # of the free memory; the rest is fragmentation and what others take
TILE_OVERLAP = 1 / 4
SMALLEST = 24  # latent rows and columns of a tile
MOST_FRAMES = {"decode": 25, "encode": 49}  # three temporal groups: later ones take no more
MOST_GROUP = 19  # frames of a temporal group with those of the past
BRANCH_BOUND = 20  # numbers per token, channel and batch: more than any evaluation takes (tests/test_memory.py)
BOUND = 5  # maps of a group, as if the widest were at full resolution: more than any pass takes (tests/test_memory.py)


def is_tiled(cut: VAESplit) -> bool:
    return isinstance(cut, (tuple, list))  # a list where a record gave it back


@dataclass(frozen=True)
class VAEPlan:
    """How a pass is cut, and its estimated peak in bytes beside weights and input."""

    cut: VAESplit
    peak: int


def free_memory(device: torch.device) -> int:
    """Bytes that a pass on this device may take; a large number where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        line = next(line for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable"))
        return int(line.split()[1]) * 1024
    return 8 << 30


@lru_cache(maxsize=256)
def transformer_peak(config: TransformerConfig, batch: int, latent: tuple[int, int, int], itemsize: int) -> int:
    """Peak bytes of one evaluation beside weights and inputs, with a fused attention kernel.

    latent is (T, H, W); both branches of guidance in one batch count twice. Blocks are alike, so one is run.
    """
    t, h, w = latent
    dtype = torch.float32 if itemsize == 4 else torch.bfloat16
    with torch.device("meta"):
        network = Transformer(replace(config, layers=1), dtype=dtype)
        x = torch.empty(batch, config.latent_channels, t, h + h % config.patch, w + w % config.patch, dtype=dtype)
        txt = torch.empty(batch, config.text_length, config.text_dim, dtype=dtype)
        timestep = torch.empty(batch)
    run = partial(network, x, timestep, txt, attention=lambda q, k, v: torch.empty_like(q))
    return trace_memory(run, x, timestep, txt, *network.parameters()).peak


def plan_branches(config: TransformerConfig, latent: tuple[int, int, int], itemsize: int, free: int) -> int:
    """How many branches of guidance to evaluate in one batch: 2, or 1 where `free` bytes ask for it."""
    tokens = latent[0] * latent[1] * latent[2] + config.text_length  # without the patches: four times too many
    if BRANCH_BOUND * itemsize * tokens * config.hidden <= SHARE * free:
        return 2
    return 2 if transformer_peak(config, 2, latent, itemsize) <= SHARE * free else 1


def vae_peak(
    config: VAEConfig,
    kind: str,
    clip: tuple[int, int, int],
    dtype: torch.dtype,
    device: torch.device,
    pixels: int | None = None,
) -> int:
    """Peak bytes of a `kind` ("decode", "encode") of a clip (frames, height, width) beside weights and input.

    With all decoded frames in float32. pixels: see vae_layers.split.
    """
    shown = min(clip[0], MOST_FRAMES[kind])
    out = 4 * 3 * (clip[0] - shown) * clip[1] * clip[2] if kind == "decode" else 0
    return out + trace_vae_pass(config, kind, (shown, *clip[1:]), dtype, device, pixels).peak


@lru_cache(maxsize=1024)
def trace_vae_pass(
    config: VAEConfig,
    kind: str,
    clip: tuple[int, int, int],
    dtype: torch.dtype,
    device: torch.device,
    pixels: int | None,
) -> MemoryTrace:
    """Of a pass on tensors without data; what no pass takes of a size (4n+1 frames, multiples of 8) is left out."""
    frames, height, width = (clip[0] - 1) // 4 * 4 + 1, clip[1] // 8 * 8, clip[2] // 8 * 8
    with torch.device("meta"):
        vae = VAE(config, dtype=dtype)
        if kind == "decode":
            x = torch.empty(1, config.latent_channels, (frames + 3) // 4, height // 8, width // 8)
        else:
            x = torch.empty(1, 3, frames, height, width)
    chunk_size = ChunkSize(default_chunk_pixels(device, dtype) if pixels is None else pixels)
    run = getattr(vae, kind)
    # measured on a CPU and on an H200: within 5 % with the copies, up to 31 % too low without
    reordered = device.type in ("cpu", "cuda")
    return trace_memory(lambda: run(x, chunk_size=chunk_size), x, *vae.parameters(), reordered=reordered)


def plan_vae_split(
    config: VAEConfig, kind: str, clip: tuple[int, int, int], dtype: torch.dtype, device: torch.device, free: int
) -> VAESplit:
    """The cut of `plan_vae`, without its counting (seconds, for a CPU's many parts) where all is sure to fit."""
    elements = MOST_GROUP * config.channels * max(config.multipliers) * clip[1] * clip[2]
    if elements <= INDEX_LIMIT and BOUND * elements * dtype.itemsize <= SHARE * free:
        return None
    return plan_vae(config, kind, clip, dtype, device, free).cut


def plan_vae(
    config: VAEConfig, kind: str, clip: tuple[int, int, int], dtype: torch.dtype, device: torch.device, free: int
) -> VAEPlan:
    """The first cut that fits into memory and CUDA's indices: whole, a frame a part, or the largest tile."""
    for cut in cuts(clip):
        tile, pixels = ((8 * cut[0], 8 * cut[1]), None) if is_tiled(cut) else (clip[1:], cut)
        peak = vae_peak(config, kind, (clip[0], *tile), dtype, device, pixels)
        shown = (min(clip[0], MOST_FRAMES[kind]), *tile)
        largest = trace_vae_pass(config, kind, shown, dtype, device, pixels).largest
        if largest <= INDEX_LIMIT and peak <= SHARE * free:
            break
    return VAEPlan(cut, peak)


def cuts(clip: tuple[int, int, int]) -> Iterator[VAESplit]:
    """From the whole picture down to the smallest tile."""
    height, width = clip[1] // 8, clip[2] // 8
    yield None
    yield clip[1] * clip[2]
    parts, tile = 2, (height, width)
    while max(tile) > SMALLEST:
        tile = (min(height, max(SMALLEST, -(-height // parts) + 8)), min(width, max(SMALLEST, -(-width // parts) + 8)))
        yield tile
        parts += 1


def describe_split(cut: VAESplit) -> str:
    """For people, sides as height x width."""
    if is_tiled(cut):
        return f"in tiles of {8 * cut[0]}x{8 * cut[1]} pixels"
    return "in one piece" if cut is None else "a frame at a time"


def tile_overlap(tile: tuple[int, int]) -> int:
    """Latent rows and columns that neighbouring tiles share."""
    return max(2, int(min(tile) * TILE_OVERLAP))


def plan_run(
    configs: dict, stage1: dict, stage2: dict, dtype: torch.dtype, device: torch.device, free: int
) -> list[dict]:
    """The phases of a clip with their estimated bytes: weights on the device, and the work beside them.

    configs by part (stage1, stage2, vae), the settings of both stages.
    """
    draft = {"frames": stage1["frames"], "height": stage1["height"], "width": stage1["width"]}
    clip = {"frames": stage1["frames"], "height": stage2["height"], "width": stage2["width"]}
    where = (dtype, device, free)
    return [
        {"phase": "stage1", **draft, **stage_plan(configs["stage1"], draft, dtype.itemsize, free)},
        {"phase": "draft_decode", **draft, **vae_plan(configs["vae"], "decode", draft, *where)},
        {"phase": "handoff", **clip, **vae_plan(configs["vae"], "encode", clip, *where)},
        {"phase": "stage2", **clip, **stage_plan(configs["stage2"], clip, dtype.itemsize, free)},
        {"phase": "decode", **clip, **vae_plan(configs["vae"], "decode", clip, *where)},
    ]


def stage_plan(config: TransformerConfig, clip: dict, itemsize: int, free: int) -> dict:
    latent = ((clip["frames"] + 3) // 4, clip["height"] // 8, clip["width"] // 8)
    weights = weight_bytes(Transformer, config, itemsize)
    branches = plan_branches(config, latent, itemsize, free - weights)
    work = transformer_peak(config, branches, latent, itemsize)
    tokens = config.text_length + latent[0] * (latent[1] // config.patch) * (latent[2] // config.patch)
    return {"weights": weights, "work": work, "tokens": tokens, "branches": branches}


def vae_plan(config: VAEConfig, kind: str, clip: dict, dtype: torch.dtype, device: torch.device, free: int) -> dict:
    plan = plan_vae(config, kind, (clip["frames"], clip["height"], clip["width"]), dtype, device, free)
    return {"weights": weight_bytes(VAE, config, dtype.itemsize), "work": plan.peak, "cut": plan.cut}


def weight_bytes(model: type[nn.Module], config, itemsize: int) -> int:
    """Bytes of a model's weights, counted on a model without memory."""
    with torch.device("meta"):
        return itemsize * sum(parameter.numel() for parameter in model(config).parameters())
