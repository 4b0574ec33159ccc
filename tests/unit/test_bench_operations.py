"""Counted operations against torch's own counter."""

from collections.abc import Callable

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.peer_networks import peer_forward
from flashvideo_core.attention import plain_attention
from flashvideo_core.bench.networks import build_network, make_inputs
from flashvideo_core.bench.operations import count_decode, count_encode, count_operations, count_transformer
from flashvideo_core.bench.sizes import SIZES
from flashvideo_core.sampling import sample_stage1, sample_stage2
from flashvideo_core.windows import Grid, Window, bind_window

TINY = SIZES["tiny"]


def count_with_torch(call: Callable[[], object]) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


@pytest.mark.parametrize("workload", ["vae-decode", "vae-encode"])
@pytest.mark.parametrize("t", [1, 3, 5])
def test_operations_of_the_vae(workload, t):
    """diffusers runs the released graph: the norm's convolutions after the resize."""
    pytest.importorskip("diffusers", reason="NO DIFFUSERS: pip install diffusers for the independent check")
    forward, _ = peer_forward(workload, build_network(workload, TINY), "diffusers")
    latent = (t, 2, 3)
    x = torch.zeros(1, 16, *latent) if workload == "vae-decode" else torch.zeros(1, 3, 4 * t - 3, 16, 24)
    count = count_decode if workload == "vae-decode" else count_encode
    assert count(TINY.vae, latent) == count_with_torch(lambda: forward(x))


def test_operations_of_the_transformer():
    """By its formula, because the counter does not know the CPU's attention kernel."""
    network = build_network("dit", TINY)
    inputs = make_inputs("dit", TINY)
    assert count_transformer(TINY.transformer, TINY.clip_latent) == count_with_torch(
        lambda: network(*inputs, attention=plain_attention)
    )


@pytest.mark.parametrize("window", [Window(2, 3), Window(3, 9), Window(9, 9)])
def test_operations_of_the_transformer_over_windows(window):
    network = build_network("dit", TINY)
    x, timestep, txt = make_inputs("dit", TINY)
    attend = bind_window(plain_attention, Grid.of(x, txt, 2), window)
    counted = count_with_torch(lambda: network(x, timestep, txt, attention=attend))
    assert count_transformer(TINY.transformer, TINY.clip_latent, window) == counted


def test_operations_of_the_released_pass():
    """2.81 PFLOP, and 4.8 times fewer over windows."""
    released = SIZES["released"]
    dense, windows = (
        count_transformer(released.stage2, released.clip_latent, window) for window in (None, released.window)
    )
    assert dense == pytest.approx(2.81e15, rel=0.005) and windows == pytest.approx(0.59e15, rel=0.005)
    assert dense / windows == pytest.approx(4.8, abs=0.05)


def test_operations_of_the_samplers():
    """Two branches in each evaluation."""
    noise, txt = make_inputs("stage1", TINY)
    stage1, stage2 = build_network("stage1", TINY), build_network("stage2", TINY)
    options = {"steps": TINY.steps[0], "attention": plain_attention}
    counted = count_with_torch(lambda: sample_stage1(stage1, noise, txt, **options))
    assert count_operations("stage1", TINY) == counted
    z, txt = make_inputs("stage2", TINY)
    options = {"steps": TINY.steps[1], "attention": plain_attention, "noise": torch.randn_like(z)}
    counted = count_with_torch(lambda: sample_stage2(stage2, z, txt, **options))
    assert count_operations("stage2", TINY) == counted
