"""The noise schedules: their ends, their order, and numbers of steps that are refused."""

import pytest
import torch

from flashvideo_core.schedule import stage1_schedule, stage2_times, zero_snr_sqrt_alphas


def test_schedule_ends():
    table = zero_snr_sqrt_alphas()
    assert table[999] == 0
    assert (table.diff() < 0).all()
    for steps in (2, 51, 999):
        timesteps, sqrt_alphas = stage1_schedule(steps)
        assert len(timesteps) == steps
        assert timesteps[0] == 999
        assert timesteps == sorted(set(timesteps), reverse=True)
        assert sqrt_alphas[0] == 0
        assert sqrt_alphas[-1] == 1
        assert (sqrt_alphas.diff() > 0).all()
    times = stage2_times(4, 2.5)
    assert times[0] == 0
    assert times[-1] == 1
    torch.testing.assert_close(stage2_times(4, 1.0), torch.linspace(0, 1, 5))


@pytest.mark.parametrize("steps", [-1, 0, 1, 1000])
def test_bad_stage1_steps(steps):
    with pytest.raises(ValueError, match=f"steps is {steps}"):
        stage1_schedule(steps)
