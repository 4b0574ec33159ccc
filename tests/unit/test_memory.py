"""The memory estimates against the measured peak of live tensors, and the tiles that follow from them."""

from dataclasses import replace

import pytest
import torch

from flashvideo_core.config import STAGE1 as RELEASED_STAGE1
from flashvideo_core.config import STAGE2 as RELEASED_STAGE2
from flashvideo_core.config import VAE as RELEASED_VAE
from flashvideo_core.config import VAEConfig
from flashvideo_core.dit import Transformer
from flashvideo_core.memory import (
    BOUND,
    BRANCH_BOUND,
    INDEX_LIMIT,
    MOST_GROUP,
    SHARE,
    plan_branches,
    plan_vae,
    tile_overlap,
    trace_vae_pass,
    transformer_peak,
    vae_peak,
    weight_bytes,
)
from flashvideo_core.meta_trace import StorageTracer, trace_memory
from flashvideo_core.vae import VAE
from flashvideo_core.vae_chunks import WHOLE, ChunkSize

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SIZES = {"layers": 2, "hidden": 512, "time_dim": 64, "text_dim": 32, "text_length": 32}
STAGE = replace(RELEASED_STAGE2, **SIZES)


def holds(estimate: float, peak: int) -> bool:
    """Never too little, and at most a quarter too much."""
    return peak <= estimate <= 1.25 * peak


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_one_evaluation(dtype):
    network, x = Transformer(STAGE).to(dtype), torch.randn(2, 16, 5, 32, 48, dtype=dtype)
    txt, timestep = torch.randn(2, 32, 32, dtype=dtype), torch.full((2,), 500.0)
    with StorageTracer(*network.parameters(), x, txt, timestep) as watch:
        network(x, timestep, txt, 675)
    assert holds(1.1 * transformer_peak(STAGE, 2, (5, 32, 48), dtype.itemsize), watch.peak)


@pytest.mark.parametrize("config", [STAGE, RELEASED_STAGE1, RELEASED_STAGE2])
@pytest.mark.parametrize("latent", [(1, 4, 6), (13, 32, 60), (13, 134, 240)])
@pytest.mark.parametrize("itemsize", [2, 4])
def test_what_is_sure_to_fit_is_more_than_an_evaluation_takes(config, latent, itemsize):
    """Where this bound fits, nothing is counted."""
    tokens = config.text_length + latent[0] * latent[1] * latent[2]
    assert transformer_peak(config, 2, latent, itemsize) < BRANCH_BOUND * itemsize * tokens * config.hidden


def test_guidance_takes_two_passes_where_memory_asks():
    """The released stage 2 at 1080p beside its weights on a card of 8 GB, and of 16."""
    config, latent = RELEASED_STAGE2, (13, 134, 240)
    one, two = (transformer_peak(config, batch, latent, 2) for batch in (1, 2))
    assert 1.9 < two / one < 2.1 and two < 4.5e9
    weights = weight_bytes(Transformer, config, 2)
    assert [plan_branches(config, latent, 2, (gb << 30) - weights) for gb in (8, 16)] == [1, 2]


def test_an_evaluation_grows_less_than_a_block_of_old():
    """Beside attention's queries, keys, values and output only parts of the sequence live (was: 34 bytes in bf16)."""
    tokens = 226 + 13 * 67 * 120
    assert transformer_peak(RELEASED_STAGE2, 1, (13, 134, 240), 2) < 10.5 * tokens * RELEASED_STAGE2.hidden


@torch.no_grad()
@pytest.mark.parametrize("kind", ["decode", "encode"])
@pytest.mark.parametrize("frames", [1, 13, 33])
def test_one_vae_pass(kind, frames):
    """The plan runs the VAE on tensors without data; with data the same storages live. Whole maps, and parts."""
    config = VAEConfig(channels=16, multipliers=(1, 2, 2, 4), blocks=1, groups=8)
    vae, clip = VAE(config), (frames, 48, 64)
    x = torch.randn(1, 16, (frames + 3) // 4, 6, 8) if kind == "decode" else torch.rand(1, 3, *clip)
    for pixels in (WHOLE, 500, None):
        with StorageTracer(*vae.parameters(), x, reordered=True) as watch:
            getattr(vae, kind)(x, chunk_size=ChunkSize(pixels))
        planned = vae_peak(config, kind, clip, torch.float32, CPU, pixels)
        assert watch.peak <= planned <= 1.05 * watch.peak


@pytest.mark.parametrize("kind", ["decode", "encode"])
def test_chunks_take_less(kind):
    """Of tensors alone, without the copies of convolutions."""
    with torch.device("meta"):
        vae = VAE(RELEASED_VAE, dtype=torch.bfloat16)
        x = torch.empty(1, 16, 9, 32, 60) if kind == "decode" else torch.empty(1, 3, 33, 256, 480)

    def peak(pixels):
        return trace_memory(lambda: getattr(vae, kind)(x, chunk_size=ChunkSize(pixels)), x, *vae.parameters()).peak

    assert peak(WHOLE) < {"decode": 2.6e9, "encode": 2.3e9}[kind]
    kept = {"decode": 2.690e9, "encode": 2.730e9}[kind]  # one piece, while a convolution's input was kept through it
    assert peak(256 * 480) < 0.7 * kept


@pytest.mark.parametrize("kind", ["decode", "encode"])
@pytest.mark.parametrize("config", [RELEASED_VAE, VAEConfig(channels=16, multipliers=(1, 2, 4, 4), blocks=1, groups=4)])
@pytest.mark.parametrize("clip", [(49, 64, 96), (17, 256, 480)])
def test_what_is_sure_to_fit_is_more_than_a_pass_takes(kind, config, clip):
    """Where this bound fits, nothing is counted."""
    bound = BOUND * MOST_GROUP * config.channels * max(config.multipliers) * clip[1] * clip[2] * 4
    for device in (CPU, CUDA):
        assert vae_peak(config, kind, clip, torch.float32, device, WHOLE) < bound


def test_a_pass_is_cut_as_little_as_memory_asks():
    """The released decode at 1080p on cards of 141, 64, 24 and 8 GB."""
    clip, free = (49, 1072, 1920), [141, 64, 24, 8]
    plans = [plan_vae(RELEASED_VAE, "decode", clip, torch.bfloat16, CUDA, gigabytes << 30) for gigabytes in free]
    assert [type(plan.cut) for plan in plans] == [int, int, tuple, tuple]
    assert plans[1].cut == 1072 * 1920 and max(plans[3].cut) < max(plans[2].cut)
    assert all(plan.peak <= SHARE * (gigabytes << 30) for plan, gigabytes in zip(plans, free, strict=True))
    assert plan_vae(RELEASED_VAE, "decode", (49, 256, 480), torch.bfloat16, CUDA, 24 << 30).cut is None
    assert tile_overlap(plans[3].cut) >= 2


@pytest.mark.parametrize("kind", ["decode", "encode"])
def test_no_tensor_exceeds_what_cuda_kernels_index(kind):
    """On the largest card memory would hold whole maps of 1080p; those of one group would not index."""
    what = (RELEASED_VAE, kind, (17, 1072, 1920), torch.bfloat16, CUDA)
    cut = plan_vae(*what, 1 << 50).cut
    assert trace_vae_pass(*what, cut).largest <= INDEX_LIMIT < trace_vae_pass(*what, None).largest
