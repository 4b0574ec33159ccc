"""The VAE in chunks of few frames, as on a CPU: the golden values, every frame count, batches, groups, gradients."""

import math

import pytest
import torch
from support.golden import ONE_PASS, error, load_golden

from flashvideo_core.config import VAEConfig
from flashvideo_core.vae import VAE
from flashvideo_core.vae_chunks import WHOLE, ChunkSize, split_frames
from flashvideo_core.vae_layers import CausalConv3d

SMALL = VAEConfig(channels=8, multipliers=(1, 2, 2, 4), blocks=1, groups=4)


@pytest.fixture(params=[1, 500], ids=["single", "few"])
def few(request):
    """Maps as small as those of the tests are split too."""
    return ChunkSize(request.param, unfolded=0)


@pytest.fixture(scope="module")
def pair():
    """A VAE and the same in float64, whose maps are never split."""
    torch.manual_seed(0)
    small = VAE(SMALL).requires_grad_(False).eval()
    exact = VAE(SMALL).requires_grad_(False).double()
    exact.load_state_dict(small.state_dict())
    return small, exact


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("count", [9, 49])
def test_golden_encode(few, vae, count):
    golden = load_golden("vae", f"enc{count}.")
    assert error(vae.encode(golden["x"], chunk_size=few), golden["moments"].chunk(2, dim=1)[0]) < ONE_PASS


@pytest.mark.parametrize("t", [2, 5])
def test_golden_decode(few, vae, t):
    golden = load_golden("vae", f"dec{t}.")
    raw = golden["raw"] if "raw" in golden else golden["frames"].permute(3, 0, 1, 2)[None] / 127.5 - 1
    assert error(vae.decode(golden["z"], chunk_size=few), raw.clamp(-1, 1)) < ONE_PASS


@pytest.mark.parametrize(("t", "batch"), [(1, 1), (2, 1), (3, 2), (4, 1), (5, 1), (6, 1)])
def test_decode(few, pair, t, batch):
    z = random(batch, 16, t, 3, 5)
    assert error(pair[0].decode(z, chunk_size=few), pair[1].decode(z.double())) < ONE_PASS


@pytest.mark.parametrize(("count", "batch"), [(1, 1), (5, 2), (17, 1), (21, 1), (37, 1)])
def test_encode(few, pair, count, batch):
    x = random(batch, 3, count, 24, 40).clamp(-1, 1)
    assert error(pair[0].encode(x, chunk_size=few), pair[1].encode(x.double())) < ONE_PASS


def test_gradients_are_those_of_whole_maps(few, pair):
    """What is differentiated is not split; what follows a frozen first layer is, and has the same gradients."""
    z, last = random(1, 16, 3, 2, 3), pair[0].decoder.conv_out.conv.weight

    def gradient(network, z, chunk_size):
        weight = network.decoder.conv_out.conv.weight.requires_grad_(True)
        (out,) = torch.autograd.grad(network.decoder(z, {}, first=True, chunk_size=chunk_size).square().mean(), weight)
        weight.requires_grad_(False)
        return out

    assert error(gradient(pair[0], z, few), gradient(pair[1], z.double(), ChunkSize(WHOLE))) < ONE_PASS
    assert len(split_frames(torch.zeros(1, 8, 9, 32, 32), few)) > 1
    assert len(split_frames(torch.zeros(1, 8, 9, 32, 32, requires_grad=True), few)) == 1
    assert not last.requires_grad


@pytest.mark.parametrize("frames", range(1, 18))
def test_pairs_of_frames_stay_in_one_chunk(few, frames):
    chunks = split_frames(torch.arange(frames).float().view(1, 1, frames, 1, 1).expand(1, 1, frames, 10, 10), few)
    assert torch.cat(chunks, dim=2)[0, 0, :, 0, 0].tolist() == list(range(frames))
    counts = [chunk.shape[2] for chunk in chunks]
    assert set(counts) == {1} or all(count % 2 == 0 for count in counts[1:])


@pytest.mark.parametrize("frames", range(1, 18))
@pytest.mark.parametrize(("channels", "height"), [(8, 256), (16, 256), (32, 128), (16, 640), (128, 1088)])
def test_no_chunk_of_a_long_enough_map_is_unfolded(frames, channels, height):
    """torch's rule (use_mkldnn in aten/src/ATen/native/Convolution.cpp): channels x frames x height is above 20480."""
    counts = ChunkSize(1).split(torch.empty(1, 64, frames, height, 384, device="meta"), channels)
    assert sum(counts) == frames and (set(counts) == {1} or all(count % 2 == 0 for count in counts[1:]))
    quick = [(count + 2) * channels * height > 20480 for count in counts]
    assert all(quick) or len(counts) == 1
    assert len(counts) == frames or max(counts) <= 2 * (20480 // (channels * height)) + 2


def test_a_decoder_narrows_within_a_chunk():
    """Of a clip as large as the embedded model's all but the smallest maps go through the quick convolution."""
    torch.manual_seed(0)
    small = VAE(VAEConfig(channels=16, multipliers=(1, 2, 4, 4), blocks=1, groups=4)).requires_grad_(False)
    seen = []
    for module in small.decoder.modules():
        if isinstance(module, CausalConv3d):
            module.conv.register_forward_pre_hook(lambda _, x: seen.append(x[0].shape[1:4]))
    small.decode(random(1, 16, 3, 32, 12))
    assert all(math.prod(shape) > 20480 for shape in seen if shape[2] >= 64) and len(seen) > 20


def test_the_last_group_leaves_nothing_behind(pair):
    cache = {}
    pair[0].decoder(random(1, 16, 1, 2, 3), cache, first=True, last=True)
    assert list(cache) == [pair[0].decoder.conv_in]
