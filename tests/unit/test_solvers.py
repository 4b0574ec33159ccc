"""The solvers against known answers: constants, Gaussians, straight paths, an exponential."""

import math

import pytest
import torch

from flashvideo_core.schedule import stage1_schedule, stage2_times
from flashvideo_core.solvers import dpmpp_2m_sde, euler_flow


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("steps", [2, 3, 6, 51])
def test_stage1_solver_ends_at_a_constant_answer(steps):
    """A model that always says z leads to z, whatever noise is drawn."""
    z = randn(1, 16, 2, 4, 4)
    out = dpmpp_2m_sde(lambda x, i: z, randn(1, 16, 2, 4, 4, seed=1), stage1_schedule(steps)[1], torch.randn_like)
    assert torch.equal(out, z)


def test_stage1_states_keep_the_variance_of_the_schedule():
    """With the exact model of z, x_i is a_i z + sqrt(1 - a_i^2) noise at every step, with fresh unit noise."""
    z, sqrt_alphas, states = 0.5 * randn(1, 1, 1, 300, 300), stage1_schedule(8)[1], []
    generator = torch.Generator().manual_seed(2)

    def denoise(x, i):
        states.append(x)
        return z

    dpmpp_2m_sde(denoise, randn(*z.shape, seed=3), sqrt_alphas, lambda x: torch.randn(x.shape, generator=generator))
    for a, x in zip(sqrt_alphas.tolist(), states, strict=False):
        noise = (x - a * z) / math.sqrt(1 - a * a)
        assert abs(float(noise.mean())) < 0.02
        assert float(noise.std()) == pytest.approx(1, abs=0.02)


def test_stage1_solver_converges_to_the_exact_gaussian():
    """Data N(0, s^2): the exact denoiser is linear, and samples must come out with deviation s."""
    s, shape = 0.5, (1, 1, 1, 200, 200)
    generator = torch.Generator().manual_seed(4)
    deviations = []
    for steps in (8, 200):
        sqrt_alphas = stage1_schedule(steps)[1]

        def denoise(x, i, table=sqrt_alphas):
            a = float(table[i])
            return a * s * s / (a * a * s * s + 1 - a * a) * x

        out = dpmpp_2m_sde(denoise, randn(*shape), sqrt_alphas, lambda x: torch.randn(x.shape, generator=generator))
        deviations.append(abs(float(out.std()) / s - 1))
    assert deviations[1] < 0.02
    assert deviations[1] < deviations[0]


def test_euler_is_exact_on_a_straight_path():
    start, end = randn(1, 16, 2, 4, 4), randn(1, 16, 2, 4, 4, seed=1)
    for steps in (1, 4, 7):
        out = euler_flow(lambda x, t: end - start, start, stage2_times(steps, 2.5))
        torch.testing.assert_close(out, end, rtol=0, atol=1e-6)


def test_euler_converges_with_the_first_order():
    """dx/dt = -x from 1: the error against exp(-1) halves when the steps double."""
    errors = []
    for steps in (50, 100, 200):
        x = euler_flow(lambda x, t: -x, torch.ones(1, dtype=torch.float64), stage2_times(steps, 1.0))
        errors.append(abs(float(x) - math.exp(-1)))
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.02)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.02)


def test_on_step_estimates_the_end():
    start, end, seen = randn(1, 16, 1, 2, 2), randn(1, 16, 1, 2, 2, seed=1), []
    euler_flow(lambda x, t: end - start, start, stage2_times(4), lambda i, estimate: seen.append(estimate))
    for estimate in seen:
        torch.testing.assert_close(estimate, end, rtol=0, atol=1e-6)
