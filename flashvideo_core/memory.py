"""What fits: free memory, what a transformer or VAE pass needs, and the tile that follows from it.

Estimates are bytes at the peak of one temporal group: the widest feature maps are those at full resolution.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from .config import TransformerConfig, VAEConfig
from .dit import Transformer
from .vae import VAE

LIVE_MAPS = 5.7  # full-resolution maps alive at once, measured: input, norm, its modulation, padded input, ...
GROUP_FRAMES = {"decode": 9, "encode": 17}
PAST_FRAMES = 2  # of the group before, beside a causal convolution's input
INDEX_LIMIT = 2**31 - 1  # elements of one tensor that every CUDA kernel can address
TOKEN_MAPS, ROPE_BYTES = 7, 20  # of a block where rotary positions turn q in float32: the widest moment
SHARE = 0.7  # of the free memory; the rest is fragmentation and what others take
TILE_OVERLAP = 1 / 4


@dataclass(frozen=True)
class TilePlan:
    """Latent tile (height, width), or None when the whole picture fits, and the estimated peak in bytes."""

    tile: tuple[int, int] | None
    overlap: int
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


def transformer_peak(config: TransformerConfig, batch: int, latent: tuple[int, int, int], itemsize: int) -> int:
    """Peak bytes of one evaluation beside the weights, with a fused attention kernel.

    latent is (T, H, W); both branches of guidance in one batch count twice.
    """
    t, h, w = latent
    tokens = config.text_length + t * -(-h // config.patch) * -(-w // config.patch)
    return batch * tokens * config.hidden * (TOKEN_MAPS * itemsize + ROPE_BYTES)


def vae_peak(config: VAEConfig, kind: str, height: int, width: int, itemsize: int) -> int:
    """Peak bytes of one temporal group of a `kind` ("decode", "encode") of height x width pixels.

    That of whole maps, as on a GPU; a CPU in float32 takes less (vae_layers.split).
    """
    return int(LIVE_MAPS * GROUP_FRAMES[kind] * widest(config, kind) * height * width * itemsize)


def widest(config: VAEConfig, kind: str) -> int:
    """Channels at full resolution: the decoder enlarges the level below its last one before it is narrowed."""
    return config.channels * config.multipliers[1 if kind == "decode" else 0]


def plan_tiles(config: VAEConfig, kind: str, size: tuple[int, int], itemsize: int, free: int) -> TilePlan:
    """The largest latent tile that fits into memory and CUDA's indices; size (height, width) in pixels."""

    def fits(height: int, width: int) -> bool:
        elements = (GROUP_FRAMES[kind] + PAST_FRAMES) * widest(config, kind) * height * width
        return elements <= INDEX_LIMIT and vae_peak(config, kind, height, width, itemsize) <= SHARE * free

    if fits(*size):
        return TilePlan(None, 0, vae_peak(config, kind, *size, itemsize))
    height, width = size[0] // 8, size[1] // 8
    parts = 2
    while True:
        tile = (min(height, -(-height // parts) + 8), min(width, -(-width // parts) + 8))
        if fits(8 * tile[0], 8 * tile[1]) or max(tile) <= 24:
            return TilePlan(tile, tile_overlap(tile), vae_peak(config, kind, 8 * tile[0], 8 * tile[1], itemsize))
        parts += 1


def tile_overlap(tile: tuple[int, int]) -> int:
    """Latent rows and columns that neighbouring tiles share."""
    return max(2, int(min(tile) * TILE_OVERLAP))


def plan_run(configs: dict, stage1: dict, stage2: dict, itemsize: int, free: int) -> list[dict]:
    """The phases of a clip with their estimated bytes: weights on the device, and the work beside them.

    configs by part (stage1, stage2, vae), the settings of both stages; guidance evaluates both branches at once.
    """
    draft = {"frames": stage1["frames"], "height": stage1["height"], "width": stage1["width"]}
    clip = {"frames": stage1["frames"], "height": stage2["height"], "width": stage2["width"]}
    return [
        {"phase": "stage1", **draft, **stage_plan(configs["stage1"], draft, itemsize)},
        {"phase": "draft_decode", **draft, **vae_plan(configs["vae"], "decode", draft, itemsize, free)},
        {"phase": "handoff", **clip, **vae_plan(configs["vae"], "encode", clip, itemsize, free)},
        {"phase": "stage2", **clip, **stage_plan(configs["stage2"], clip, itemsize)},
        {"phase": "decode", **clip, **vae_plan(configs["vae"], "decode", clip, itemsize, free)},
    ]


def stage_plan(config: TransformerConfig, clip: dict, itemsize: int) -> dict:
    t, h, w = (clip["frames"] + 3) // 4, clip["height"] // 8, clip["width"] // 8
    work = transformer_peak(config, 2, (t, h, w), itemsize)
    tokens = config.text_length + t * (h // config.patch) * (w // config.patch)
    return {"weights": weight_bytes(Transformer, config, itemsize), "work": work, "tokens": tokens}


def vae_plan(config: VAEConfig, kind: str, clip: dict, itemsize: int, free: int) -> dict:
    plan = plan_tiles(config, kind, (clip["height"], clip["width"]), itemsize, free)
    return {"weights": weight_bytes(VAE, config, itemsize), "work": plan.peak, "tile": plan.tile}


def weight_bytes(model: type[nn.Module], config, itemsize: int) -> int:
    """Bytes of a model's weights, counted on a model without memory."""
    with torch.device("meta"):
        return itemsize * sum(parameter.numel() for parameter in model(config).parameters())
