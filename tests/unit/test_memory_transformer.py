"""The estimate of an evaluation against the measured peak of live tensors, and the branches that follow from it."""

from dataclasses import replace

import pytest
import torch

from flashvideo_core.config import STAGE1, STAGE2
from flashvideo_core.dit import Transformer
from flashvideo_core.memory import plan_branches, transformer_peak
from flashvideo_core.memory.run import weight_bytes
from flashvideo_core.memory.transformer import EVALUATION_BOUND
from flashvideo_core.meta_trace import StorageTracer

SIZES = {"layers": 2, "hidden": 512, "time_dim": 64, "text_dim": 32, "text_length": 32}
SMALL = replace(STAGE2, **SIZES)


def holds(estimate: float, peak: int) -> bool:
    """Never too little, and at most a quarter too much."""
    return peak <= estimate <= 1.25 * peak


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_one_evaluation(dtype):
    network, x = Transformer(SMALL).to(dtype), torch.randn(2, 16, 5, 32, 48, dtype=dtype)
    txt, timestep = torch.randn(2, 32, 32, dtype=dtype), torch.full((2,), 500.0)
    with StorageTracer(*network.parameters(), x, txt, timestep) as tracer:
        network(x, timestep, txt, 675)
    assert holds(1.1 * transformer_peak(SMALL, 2, (5, 32, 48), dtype.itemsize), tracer.peak)


@pytest.mark.parametrize("config", [SMALL, STAGE1, STAGE2])
@pytest.mark.parametrize("latent", [(1, 4, 6), (13, 32, 60), (13, 134, 240)])
@pytest.mark.parametrize("itemsize", [2, 4])
def test_what_is_sure_to_fit_is_more_than_an_evaluation_takes(config, latent, itemsize):
    """Where this bound fits, nothing is counted."""
    tokens = config.text_length + latent[0] * latent[1] * latent[2]
    assert transformer_peak(config, 2, latent, itemsize) < EVALUATION_BOUND * itemsize * tokens * config.hidden


def test_guidance_takes_two_passes_where_memory_asks():
    """The released stage 2 at 1080p beside its weights on a card of 8 GB, and of 16."""
    config, latent = STAGE2, (13, 134, 240)
    one, two = (transformer_peak(config, batch, latent, 2) for batch in (1, 2))
    assert 1.9 < two / one < 2.1 and two < 4.5e9
    weights = weight_bytes(Transformer, config, torch.bfloat16)
    assert [plan_branches(config, latent, 2, (gb << 30) - weights) for gb in (8, 16)] == [1, 2]


def test_an_evaluation_grows_less_than_a_block_of_old():
    """Beside attention's queries, keys, values and output only chunks of the sequence live (was: 34 bytes in bf16)."""
    tokens = 226 + 13 * 67 * 120
    assert transformer_peak(STAGE2, 1, (13, 134, 240), 2) < 10.5 * tokens * STAGE2.hidden
