"""Guidance: its schedules, its formula, and both branches in one batch or in two passes."""

import pytest
import torch
from support.golden import SAMPLING, error

from flashvideo_core.guidance import apply_cfg, find_cfg_schedule, make_cond_uncond, released_dynamic_cfg
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
    together = make_cond_uncond(stage1, txt, torch.zeros_like(txt))(x, 500)
    apart = make_cond_uncond(stage1, txt, torch.zeros_like(txt), sequential=True)(x, 500)
    for a, b in zip(together, apart, strict=True):
        assert error(a, b) < SAMPLING


def test_an_unknown_name():
    with pytest.raises(ValueError, match="guidance is 'none'"):
        find_cfg_schedule("none")
