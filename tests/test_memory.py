"""The memory estimates against the measured peak of live tensors, and the tiles that follow from them."""

import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from flashvideo_core import vae_layers
from flashvideo_core.config import STAGE2_DEFAULTS, TransformerConfig, VAEConfig
from flashvideo_core.config import VAE as RELEASED_VAE
from flashvideo_core.dit import Transformer
from flashvideo_core.memory import INDEX_LIMIT, plan_tiles, transformer_peak, vae_peak
from flashvideo_core.vae import VAE

SIZES = {"layers": 2, "hidden": 512, "time_dim": 64, "text_dim": 32, "text_length": 32}
STAGE = TransformerConfig(stage=2, latent_scale=1.0, defaults=STAGE2_DEFAULTS, **SIZES)


class Watch(TorchDispatchMode):
    """Counts the bytes of every storage made while it is active, beside those that are known before."""

    def __init__(self, *known: torch.Tensor):
        super().__init__()
        self.live, self.peak = {t.untyped_storage()._cdata: 0 for t in known}, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_iter(out):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor.untyped_storage())
        return out

    def _add(self, storage) -> None:
        key = storage._cdata
        if key not in self.live:
            self.live[key] = storage.nbytes()
            self.peak = max(self.peak, sum(self.live.values()))
            weakref.finalize(storage, self.live.pop, key, None)


def holds(estimate: float, peak: int) -> bool:
    """Never too little, and at most a quarter too much."""
    return peak <= estimate <= 1.25 * peak


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_one_evaluation(dtype):
    network, x = Transformer(STAGE).to(dtype), torch.randn(2, 16, 5, 32, 48, dtype=dtype)
    txt, timestep = torch.randn(2, 32, 32, dtype=dtype), torch.full((2,), 500.0)
    with Watch(*network.parameters(), x, txt, timestep) as watch:
        network(x, timestep, txt, 675)
    assert holds(1.1 * transformer_peak(STAGE, 2, (5, 32, 48), dtype.itemsize), watch.peak)


@torch.no_grad()
@pytest.mark.parametrize("multipliers", [(1, 2, 2, 4), (1, 2, 4, 4)])
def test_one_vae_pass(multipliers, monkeypatch):
    """The estimate is that of whole maps, as on a GPU; a CPU's parts take less: 0.56 and 0.76 when measured."""
    config = VAEConfig(channels=32, multipliers=multipliers, blocks=1)
    vae, z, frames = VAE(config), torch.randn(1, 16, 5, 12, 16), torch.rand(1, 3, 33, 96, 128)
    out = torch.empty(1, 3, 17, 96, 128)
    runs = {"decode": (0.6, lambda: vae.decode(z, out=out)), "encode": (0.8, lambda: vae.encode(frames))}
    for kind, (share, run) in runs.items():
        peaks = []
        for pixels in (10**9, vae_layers.PIXELS):
            monkeypatch.setattr(vae_layers, "PIXELS", pixels)
            with Watch(*vae.parameters(), z, frames, out) as watch:
                run()
            peaks.append(watch.peak)
        assert holds(vae_peak(config, kind, 96, 128, 4), peaks[0]), kind
        assert peaks[1] < share * peaks[0], kind


def test_tiles_follow_from_the_memory():
    plans = [plan_tiles(RELEASED_VAE, "decode", (1072, 1920), 2, gigabytes << 30) for gigabytes in (141, 24, 8)]
    sides = [max(plan.tile) for plan in plans]
    assert sides == sorted(sides, reverse=True)
    assert all(plan.peak <= 0.7 * (gigabytes << 30) for plan, gigabytes in zip(plans, (141, 24, 8), strict=True))
    assert plan_tiles(RELEASED_VAE, "decode", (256, 480), 2, 24 << 30).tile is None


def test_no_tensor_exceeds_what_cuda_kernels_index():
    """On the largest card memory would hold the whole 1080p picture; the feature maps of one group would not index."""
    height, width = (8 * side for side in plan_tiles(RELEASED_VAE, "decode", (1072, 1920), 2, 1 << 50).tile)
    assert 11 * 256 * height * width <= INDEX_LIMIT < 11 * 256 * 1072 * 1920
    height, width = (8 * side for side in plan_tiles(RELEASED_VAE, "encode", (1072, 1920), 2, 1 << 50).tile)
    assert 19 * 128 * height * width <= INDEX_LIMIT < 19 * 128 * 1072 * 1920
