"""Guidance: its schedules, its formula, and both branches in one batch or in two passes."""

import pytest
import torch
from support.golden import SAMPLING, error

from flashvideo_core.guidance import apply_cfg, find_cfg_schedule, make_cond_uncond, released_dynamic_cfg
from flashvideo_core.sampling import sample_stage1, sample_stage2
from flashvideo_core.schedule import stage1_schedule


def test_schedules_and_formula():
    released = [released_dynamic_cfg(8, t, 51) for t in stage1_schedule(51)[0]]
    assert [round(s, 3) for s in released[:4]] == [8.287, 4.004, 2.404, 5.046]
    assert all(1 <= s <= 9 for s in released)
    assert find_cfg_schedule("constant")(8, 999, 51) == 8
    cond, uncond = torch.tensor([3.0]), torch.tensor([1.0])
    assert apply_cfg(cond, uncond, 0) == uncond
    assert apply_cfg(cond, uncond, 1) == cond
    assert apply_cfg(cond, uncond, 8) == 17


def test_two_passes_equal_one_batch(stage1):
    g = torch.Generator().manual_seed(0)
    x, txt = torch.randn(2, 16, 2, 4, 6, generator=g), torch.randn(2, 5, 32, generator=g)
    together = make_cond_uncond(stage1, txt, torch.zeros_like(txt))(x, 500, 8)
    apart = make_cond_uncond(stage1, txt, torch.zeros_like(txt), sequential=True)(x, 500, 8)
    for a, b in zip(together, apart, strict=True):
        assert error(a, b) < SAMPLING


@pytest.mark.parametrize("sequential", [False, True])
def test_a_scale_of_one_costs_one_branch(sequential):
    calls = []

    def model(x, timestep, txt):
        calls.append(len(x))
        return x * txt.mean()

    x, txt = torch.randn(2, 16, 2, 4, 6), torch.ones(2, 5, 32)
    evaluate = make_cond_uncond(model, txt, 0 * txt, sequential)
    assert torch.equal(apply_cfg(*evaluate(x, 500, 1.0), 1.0), x)
    assert calls == [2]
    evaluate(x, 500, 1.5)
    assert sum(calls) == 6


@pytest.mark.parametrize(("cfg", "passes"), [(0.0, 4), (1.0, 8), (8.0, 8)])
def test_stage_1_skips_the_branch_where_its_scale_is_one(stage1, cfg, passes, monkeypatch):
    """Under the released guidance cfg is the peak over a scale of 1: only cfg 0 has no guidance in any step."""
    counted = count_passes(stage1, monkeypatch)
    g = torch.Generator().manual_seed(0)
    x, txt = torch.randn(1, 16, 2, 4, 6, generator=g), torch.randn(1, 5, 32, generator=g)
    sample_stage1(stage1, x, txt, steps=4, cfg=cfg, draw_noise=torch.zeros_like)
    assert sum(counted) == passes


def test_stage_2_without_guidance_is_the_flow_of_the_prompt(stage2, monkeypatch):
    counted = count_passes(stage2, monkeypatch)
    g = torch.Generator().manual_seed(0)
    z, noise = (torch.randn(1, 16, 2, 4, 6, generator=g) for _ in range(2))
    txt = torch.randn(1, 5, 32, generator=g)
    out = sample_stage2(stage2, z, txt, noise=noise, steps=2, cfg=1.0)
    assert counted == [1, 1]
    assert error(out, sample_stage2(stage2, z, txt, noise=noise, steps=2, cfg=1.0, negative=7 * txt)) == 0
    assert error(out, sample_stage2(stage2, z, txt, noise=noise, steps=2, cfg=1 + 1e-12)) < SAMPLING


def count_passes(dit, monkeypatch):
    """The batch of each evaluation of a network from now on."""
    counted, forward = [], dit.forward

    def counting(x, *args, **kwargs):
        counted.append(len(x))
        return forward(x, *args, **kwargs)

    monkeypatch.setattr(dit, "forward", counting)
    return counted


def test_an_unknown_name():
    with pytest.raises(ValueError, match="guidance is 'none'"):
        find_cfg_schedule("none")
