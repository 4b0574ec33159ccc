"""Guidance: its schedules, its formula, and both branches in one batch or in two passes."""

import functools

import pytest
import torch
from support.golden import SAMPLING, error

from flashvideo_core.guidance import (
    apply_cfg,
    find_cfg_schedule,
    make_branches,
    make_cond_uncond,
    released_dynamic_cfg,
    round_cfg,
)
from flashvideo_core.sampling import sample_stage1, sample_stage2
from flashvideo_core.schedule import add_noise, stage1_schedule, stage2_times, zero_snr_sqrt_alphas


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
    together = make_branches(stage1, txt, torch.zeros_like(txt))(x, 500, ("cond", "uncond"))
    apart = make_branches(stage1, txt, torch.zeros_like(txt), sequential=True)(x, 500, ("cond", "uncond"))
    for a, b in zip(together, apart, strict=True):
        assert error(a, b) < SAMPLING


@pytest.mark.parametrize("sequential", [False, True])
def test_a_scale_of_one_costs_one_branch(sequential):
    calls = []

    def model(x, timestep, txt):
        calls.append(len(x))
        return x * txt.mean()

    x, txt = torch.randn(2, 16, 2, 4, 6), torch.ones(2, 5, 32)
    evaluate = make_cond_uncond(make_branches(model, txt, 0 * txt, sequential))
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


@pytest.mark.parametrize(
    ("guided", "passes"), [(0, [2, 2, 2]), (1, [2, 1, 1]), (2, [2, 2, 1]), (3, [2, 2, 2]), (9, [2] * 3)]
)
def test_the_first_evaluations_of_stage_2_are_guided(stage2, guided, passes, monkeypatch):
    """What runs is what on_pass reports; with all of them guided every bit is that of the default."""
    g = torch.Generator().manual_seed(0)
    z, noise = (torch.randn(1, 16, 2, 4, 6, generator=g) for _ in range(2))
    run = functools.partial(sample_stage2, stage2, z, torch.randn(1, 5, 32, generator=g), noise=noise, steps=3, cfg=4.0)
    default, reported = run(), []
    counted = count_passes(stage2, monkeypatch)
    out = run(guided_evaluations=guided, on_pass=reported.append)
    assert counted == [len(names) for names in reported] == passes
    assert torch.equal(out, default) == (sum(passes) == 6)


def test_what_follows_the_guided_evaluations_is_a_run_without_guidance(stage2):
    """Two of three steps by hand: guided to the first time, from there the conditional velocity alone."""
    g = torch.Generator().manual_seed(0)
    z, noise = (torch.randn(1, 16, 2, 4, 6, generator=g) for _ in range(2))
    txt, scale = torch.randn(1, 5, 32, generator=g), stage2.config.latent_scale
    x, times = add_noise(scale * z, noise, zero_snr_sqrt_alphas()[675]), stage2_times(2, 2.5)
    with torch.no_grad():
        for cfg, t, until in zip((4.0, 1.0), times[:-1], times[1:], strict=True):
            timestep = torch.full((1,), float(1000 - 1000 * t))
            cond, uncond = (stage2(x, timestep, text, 675) for text in (txt, 0 * txt))
            x = x + (until - t) * (uncond + cfg * (cond - uncond))
    out = sample_stage2(stage2, z, txt, noise=noise, steps=2, cfg=4.0, guided_evaluations=1)
    assert error(out, x / scale) < SAMPLING


def test_scales_near_one_cost_one_branch(stage1, monkeypatch):
    """Of the released 51 scales 4 are within 0.05 of 1; without an epsilon none is 1."""
    scales = [released_dynamic_cfg(8, t, 51) for t in stage1_schedule(51)[0]]
    assert [sum(round_cfg(scale, epsilon) == 1 for scale in scales) for epsilon in (0, 0.001, 0.05)] == [0, 2, 4]
    g = torch.Generator().manual_seed(0)
    x, txt = torch.randn(1, 16, 1, 2, 2, generator=g), torch.randn(1, 5, 32, generator=g)
    counted, reported = count_passes(stage1, monkeypatch), []
    options = {"draw_noise": torch.zeros_like, "cfg_epsilon": 0.05, "on_pass": reported.append}
    sample_stage1(stage1, x, txt, **options)
    assert counted == [len(names) for names in reported] and sum(counted) == 98


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
