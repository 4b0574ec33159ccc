"""The step cache of stage 1: its rule against numbers by hand, what a sampling evaluates, and that no state stays."""

import pytest
import torch
from support.golden import SAMPLING, error

from flashvideo_core.sampling import make_draw_noise, sample_stage1
from flashvideo_core.schedule import velocity_to_denoised, zero_snr_sqrt_alphas
from flashvideo_core.step_cache import WARM_UP, StepCache, cache_steps, denoised_to_velocity

BOTH = ("cond", "uncond")


def latent(value: float) -> torch.Tensor:
    return torch.full((1, 16, 1, 2, 2), value)


def test_the_rule_by_hand():
    """Input 10 -> 9 changed the output 2 -> 2.2 (rate 0.2): each further step of 1 changes it by 0.2 / 2.2."""
    cache = StepCache(threshold=0.25, warm_up=0)
    for x, denoised in ((10.0, 2.0), (9.0, 2.2)):
        assert not cache.can_reuse(latent(x), ["cond"])
        cache.keep("cond", latent(x), latent(denoised))
    assert [cache.can_reuse(latent(x), ["cond"]) for x in (8.0, 7.0, 6.0)] == [True, True, False]
    assert cache.change == pytest.approx(3 * 0.2 / 2.2)
    cache.keep("cond", latent(6.0), latent(2.5))
    assert cache.change == 0 and float(cache.branches["cond"].rate) == pytest.approx(0.3 / 3)


def test_both_branches_are_saved_or_none():
    """One that has not been evaluated twice, or changes more than the threshold, has both evaluated."""
    cache = StepCache(threshold=0.15, warm_up=0)
    cache.can_reuse(latent(10.0), ["cond"])
    cache.keep("cond", latent(10.0), latent(2.0))
    for x, cond, uncond in ((9.0, 2.1, 1.0), (8.0, 2.2, 1.2)):
        assert not cache.can_reuse(latent(x), BOTH)
        cache.keep("cond", latent(x), latent(cond))
        cache.keep("uncond", latent(x), latent(uncond))
    assert cache.can_reuse(latent(7.0), ["cond"])
    assert not cache.can_reuse(latent(6.0), BOTH)


def test_the_velocity_of_a_kept_latent_points_at_it():
    x, z, a = torch.randn(2, 3), torch.randn(2, 3), float(zero_snr_sqrt_alphas()[400])
    assert error(velocity_to_denoised(x, denoised_to_velocity(x, z, a), a), z) < SAMPLING


def test_a_branch_without_change_is_evaluated():
    """0 / 0 is no change below a threshold."""
    calls = []

    def branches(x, timestep, names):
        calls.append(names)
        return [0 * x for _ in names]

    evaluate = cache_steps(branches, 10.0)
    for i in range(9):
        evaluate(latent(float(i)), 999, BOTH)
    assert len(calls) == 9


def test_the_first_evaluations_are_never_saved():
    calls = []

    def branches(x, timestep, names):
        calls.append(names)
        return [x, 2 * x]

    evaluate = cache_steps(branches, 1e9)
    for i in range(9):
        evaluate(latent(10.0 - i), 500, BOTH)
    assert len(calls) == WARM_UP


def run(dit, **options):
    draw_noise, passes = make_draw_noise(0), []
    noise, txt = (
        draw_noise(torch.empty(1, 16, 2, 4, 6)),
        torch.randn(1, 5, 32, generator=torch.Generator().manual_seed(1)),
    )
    z = sample_stage1(dit, noise, txt, steps=12, draw_noise=draw_noise, on_pass=passes.append, **options)
    return z, passes


def test_without_a_threshold_every_bit_is_as_ever(stage1):
    z, passes = run(stage1)
    assert torch.equal(run(stage1, cache=0.0)[0], z) and passes == [BOTH] * 12
    below, passes = run(stage1, cache=1e-9)  # the cache is asked, and saves nothing
    assert torch.equal(below, z) and passes == [BOTH] * 12


def test_a_threshold_saves_evaluations_and_leaves_no_state(stage1):
    whole = run(stage1)[0]
    errors, evaluated = [], []
    for cache in (0.05, 0.3, 1.0):
        z, passes = run(stage1, cache=cache)
        again, _ = run(stage1, cache=cache)
        assert torch.equal(z, again)
        errors.append(error(z, whole))
        evaluated.append(len(passes))
    assert 12 >= evaluated[0] > evaluated[1] > evaluated[2] >= WARM_UP
    assert errors[0] < errors[2]
