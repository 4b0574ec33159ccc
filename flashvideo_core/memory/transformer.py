"""What an evaluation of a transformer takes, and how many branches of guidance go through it at once."""

from dataclasses import replace
from functools import lru_cache, partial

import torch
from torch import Tensor

from ..config import TransformerConfig
from ..dit import Transformer
from ..fp8 import keep_all_fp8
from ..meta_trace import trace_memory
from .free import USABLE_SHARE

EVALUATION_BOUND = 20  # numbers per token and channel, both branches: more than any evaluation takes (tested)


@lru_cache(maxsize=256)
def transformer_peak(
    config: TransformerConfig, batch: int, latent: tuple[int, int, int], itemsize: int, fp8: bool = False
) -> int:
    """Peak bytes of one evaluation beside weights and inputs, with a fused attention kernel.

    latent is (T, H, W); both branches of guidance in one batch count twice; itemsize 4 stands for float32, 2 for bf16
    and fp16; with weights in fp8 that of the layer at work is there whole, too. Blocks are alike, so one is run.
    """
    t, h, w = latent
    dtype = torch.float32 if itemsize == 4 else torch.bfloat16
    with torch.device("meta"):
        network = Transformer(replace(config, layers=1), dtype=dtype)
        if fp8:
            keep_all_fp8(network)
        x = torch.empty(batch, config.latent_channels, t, h + h % config.patch, w + w % config.patch, dtype=dtype)
        txt = torch.empty(batch, config.text_length, config.text_dim, dtype=dtype)
        timestep = torch.empty(batch)
    run = partial(network, x, timestep, txt, attention=_fused_attention)
    return trace_memory(run, x, timestep, txt, *network.parameters()).peak


def _fused_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """What a kernel that never holds the scores allocates."""
    return torch.empty_like(q)


def plan_branches(
    config: TransformerConfig, latent: tuple[int, int, int], itemsize: int, free: int, fp8: bool = False
) -> int:
    """How many branches of guidance to evaluate in one batch: 2, or 1 where `free` bytes ask for it."""
    tokens = latent[0] * latent[1] * latent[2] + config.text_length  # without the patches: four times too many
    if not fp8 and EVALUATION_BOUND * itemsize * tokens * config.hidden <= USABLE_SHARE * free:
        return 2
    return 2 if transformer_peak(config, 2, latent, itemsize, fp8) <= USABLE_SHARE * free else 1
