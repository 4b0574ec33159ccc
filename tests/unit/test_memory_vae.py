"""The estimate of a VAE pass against the measured peak of live tensors, and the split that follows from it."""

import pytest
import torch

from flashvideo_core.components import Pipeline
from flashvideo_core.config import VAE as RELEASED
from flashvideo_core.config import VAEConfig
from flashvideo_core.memory import USABLE_SHARE, plan_vae, tile_overlap, trace_vae_pass, vae_peak
from flashvideo_core.memory.vae import GROUP_FRAMES, INDEX_LIMIT, PASS_BOUND
from flashvideo_core.meta_trace import StorageTracer, trace_memory
from flashvideo_core.vae import VAE
from flashvideo_core.vae_chunks import WHOLE, ChunkSize
from flashvideo_core.vae_passes import decode

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@torch.no_grad()
@pytest.mark.parametrize("kind", ["decode", "encode"])
@pytest.mark.parametrize("frames", [1, 13, 33])
def test_one_vae_pass(kind, frames):
    """The plan runs the VAE on tensors without data; with data the same storages live. Whole maps, and chunks."""
    config = VAEConfig(channels=16, multipliers=(1, 2, 2, 4), blocks=1, groups=8)
    vae, clip = VAE(config), (frames, 48, 64)
    x = torch.randn(1, 16, (frames + 3) // 4, 6, 8) if kind == "decode" else torch.rand(1, 3, *clip)
    for pixels in (WHOLE, 500, None):
        with StorageTracer(*vae.parameters(), x, reordered=True) as tracer:
            getattr(vae, kind)(x, chunk_size=ChunkSize(pixels))
        planned = vae_peak(config, kind, clip, torch.float32, CPU, pixels)
        assert tracer.peak <= planned <= 1.05 * tracer.peak


@pytest.mark.parametrize("kind", ["decode", "encode"])
def test_chunks_take_less(kind):
    """Of tensors alone, without the copies of convolutions."""
    with torch.device("meta"):
        vae = VAE(RELEASED, dtype=torch.bfloat16)
        x = torch.empty(1, 16, 9, 32, 60) if kind == "decode" else torch.empty(1, 3, 33, 256, 480)

    def peak(pixels):
        return trace_memory(lambda: getattr(vae, kind)(x, chunk_size=ChunkSize(pixels)), x, *vae.parameters()).peak

    assert peak(WHOLE) < {"decode": 2.6e9, "encode": 2.3e9}[kind]
    kept = {"decode": 2.690e9, "encode": 2.730e9}[kind]  # one piece, while a convolution's input was kept through it
    assert peak(256 * 480) < 0.7 * kept


@pytest.mark.parametrize("kind", ["decode", "encode"])
@pytest.mark.parametrize("config", [RELEASED, VAEConfig(channels=16, multipliers=(1, 2, 4, 4), blocks=1, groups=4)])
@pytest.mark.parametrize("clip", [(49, 64, 96), (17, 256, 480)])
def test_what_is_sure_to_fit_is_more_than_a_pass_takes(kind, config, clip):
    """Where this bound fits, nothing is counted."""
    bound = PASS_BOUND * GROUP_FRAMES * config.channels * max(config.multipliers) * clip[1] * clip[2] * 4
    for device in (CPU, CUDA):
        assert vae_peak(config, kind, clip, torch.float32, device, WHOLE) < bound


def test_a_pass_is_cut_as_little_as_memory_asks():
    """The released decode at 1080p on cards of 141, 64, 24 and 8 GB."""
    clip, free = (49, 1072, 1920), [141, 64, 24, 8]
    plans = [plan_vae(RELEASED, "decode", clip, torch.bfloat16, CUDA, gigabytes << 30) for gigabytes in free]
    assert [type(plan.split) for plan in plans] == [int, int, tuple, tuple]
    assert plans[1].split == 1072 * 1920 and max(plans[3].split) < max(plans[2].split)
    assert all(plan.peak <= USABLE_SHARE * (gigabytes << 30) for plan, gigabytes in zip(plans, free, strict=True))
    assert plan_vae(RELEASED, "decode", (49, 256, 480), torch.bfloat16, CUDA, 24 << 30).split is None
    assert tile_overlap(plans[3].split) >= 2


@pytest.mark.parametrize("kind", ["decode", "encode"])
def test_no_tensor_exceeds_what_cuda_kernels_index(kind):
    """On the largest card memory would hold whole maps of 1080p; those of one group would not index."""
    what = (RELEASED, kind, (17, 1072, 1920), torch.bfloat16, CUDA)
    split = plan_vae(*what, 1 << 50).split
    assert trace_vae_pass(*what, split).largest <= INDEX_LIMIT < trace_vae_pass(*what, None).largest


@torch.no_grad()
def test_decoded_frames_are_there_once():
    """A pipeline's decode takes no more than the VAE's, whose frames it turns into pictures in their own memory."""
    vae = VAE(VAEConfig(channels=8, multipliers=(1, 1, 1, 1), blocks=1, groups=4)).eval()
    pipe, z = Pipeline(None, None, vae, None), torch.randn(1, 16, 17, 4, 4)
    with StorageTracer(*vae.parameters(), z) as alone:
        frames = vae.decode(z)
    with StorageTracer(*vae.parameters(), z) as tracer:
        pictures = decode(pipe, z, "decode")
    assert tracer.peak == alone.peak < 3 * frames.nbytes
    assert torch.equal(pictures, (frames[0].permute(1, 2, 3, 0) + 1) / 2)
