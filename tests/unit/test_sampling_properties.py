"""Samplers and schedules without golden values: known answers, seeds, batches, and the training losses."""

import math

import pytest
import torch
from support.golden import SAMPLING, error

from flashvideo_core.guidance import apply_cfg, find_cfg_schedule, make_cond_uncond, released_dynamic_cfg
from flashvideo_core.sampling import dpmpp_2m_sde, euler_flow, make_draw_noise, sample_stage1, sample_stage2
from flashvideo_core.schedule import (
    add_noise,
    stage1_schedule,
    stage2_times,
    velocity,
    velocity_to_denoised,
    zero_snr_sqrt_alphas,
)
from flashvideo_core.training.losses import stage1_loss, stage2_loss


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Oracle(torch.nn.Module):
    """A network that knows the clean latent z: its output is the exact velocity at every x and timestep."""

    def __init__(self, config, answer):
        super().__init__()
        self.config, self.answer = config, answer
        self.patch_embed = torch.nn.Conv2d(1, 1, 1)  # whose dtype the samplers ask for

    def forward(self, x, timestep, txt, ref_step=None, *, attention=None, on_block=None):
        return self.answer(x, timestep)


# the solvers against known answers


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


# samplers with a network that knows the answer


@pytest.mark.parametrize("guidance", ["released", "constant"])
def test_stage1_finds_the_clean_latent_of_an_oracle(stage1, guidance):
    z = randn(1, 16, 2, 4, 4) / 0.7
    table = zero_snr_sqrt_alphas()

    def answer(x, timestep):  # the v whose clean latent is z, with the alpha that the sampler will use
        index = timesteps.index(int(timestep[0]))
        a = table[(table - sqrt_alphas[index]).abs().argmin()]
        return (a * x - 0.7 * z) / (1 - a * a).sqrt()

    timesteps, sqrt_alphas = stage1_schedule(6)
    oracle = Oracle(stage1.config, answer)
    out = sample_stage1(oracle, randn(1, 16, 2, 4, 4, seed=1), randn(1, 3, 32), steps=6, guidance=guidance)
    assert error(out, z) < SAMPLING


def test_stage2_finds_the_clean_latent_of_an_oracle(stage2):
    z, z_ref, noise = (randn(1, 16, 2, 4, 4, seed=seed) for seed in range(3))
    scale = stage2.config.latent_scale
    start = add_noise(scale * z_ref, noise, zero_snr_sqrt_alphas()[675])
    oracle = Oracle(stage2.config, lambda x, timestep: (scale * z - start).expand_as(x))
    out = sample_stage2(oracle, z_ref, randn(1, 3, 32), noise=noise, steps=4)
    assert error(out, z) < SAMPLING


# loss and sampler share schedule and path


def test_the_stage1_loss_of_an_exact_model_is_zero():
    """The v that the loss asks for is the one from which the sampler recovers the clean latent."""
    z, table = randn(3, 16, 2, 4, 4), zero_snr_sqrt_alphas()

    def exact(x, timestep, txt):
        a = table[timestep.long()].view(-1, 1, 1, 1, 1)
        noise = (x - a * z) / (1 - a * a).sqrt()
        return velocity(z, noise, a)

    def recovered(x, timestep, txt):
        v, a = exact(x, timestep, txt), table[timestep.long()].view(-1, 1, 1, 1, 1)
        torch.testing.assert_close(velocity_to_denoised(x, v, a), z, rtol=0, atol=1e-4)
        return v

    generator = torch.Generator().manual_seed(0)
    assert float(stage1_loss(recovered, z, randn(3, 2, 4), generator)) < 1e-6
    assert float(stage1_loss(lambda x, t, txt: exact(x, t, txt) + 0.1, z, randn(3, 2, 4), generator)) == pytest.approx(
        0.01, rel=1e-3
    )


def test_the_stage2_loss_of_an_exact_model_is_zero_and_its_velocity_inverts_the_noising():
    """A model without loss, run by the sampler's Euler loop from the noised reference, returns the clean latent."""
    z, z_ref = randn(2, 16, 2, 4, 4), randn(2, 16, 2, 4, 4, seed=1)
    seen = []

    def exact(x, timestep, txt, ref_step):
        t = (1 - timestep / 1000).view(-1, 1, 1, 1, 1)
        v = (z - x) / (1 - t)
        seen.append((x, t, v, ref_step))
        return v

    assert float(stage2_loss(exact, z, z_ref, randn(2, 2, 4), 675, torch.Generator().manual_seed(0))) < 1e-4
    x, t, v, ref_step = seen[0]
    assert ref_step == 675
    noise = torch.Generator().manual_seed(0)
    start = add_noise(z_ref, torch.randn(z.shape, generator=noise), zero_snr_sqrt_alphas()[675])
    torch.testing.assert_close(x - t * v, start, rtol=0, atol=1e-3)
    out = euler_flow(lambda x, t: z - start, start, stage2_times(4))
    torch.testing.assert_close(out, z, rtol=0, atol=1e-5)


# seeds, batches, guidance, on the golden networks


def run1(dit, seeds, steps=3, **settings):
    draw = make_draw_noise(seeds[0], len(seeds))
    noise = draw(torch.empty(len(seeds), 16, 2, 4, 6))
    txt = randn(1, 5, 32, seed=9).expand(len(seeds), -1, -1)
    return sample_stage1(dit, noise, txt, steps=steps, draw_noise=draw, **settings)


def test_a_seed_decides_the_draft(stage1):
    assert torch.equal(run1(stage1, [5]), run1(stage1, [5]))
    assert error(run1(stage1, [5]), run1(stage1, [6])) > 0.1


def test_draft_i_of_a_batch_is_the_draft_of_seed_plus_i(stage1):
    batch = run1(stage1, [5, 6, 7])
    for i in range(3):
        assert error(batch[i : i + 1], run1(stage1, [5 + i])) < SAMPLING


def test_seeds_wrap_at_64_bits():
    x = torch.empty(2, 16, 1, 2, 2)
    last = make_draw_noise(2**64 - 1, 2)(x)
    assert torch.equal(last[1:], make_draw_noise(0)(x[:1]))


def test_stage2_repeats_and_follows_its_noise(stage2):
    z_ref, txt = randn(1, 16, 2, 4, 6), randn(1, 5, 32, seed=9)

    def run(seed):
        return sample_stage2(stage2, z_ref, txt, noise=make_draw_noise(seed)(z_ref), steps=2)

    assert torch.equal(run(1), run(1))
    assert error(run(1), run(2)) > 0.05


def test_guidance_of_one_is_the_conditional_branch_alone(stage1):
    """Constant guidance 1: the negative text has no influence; with 8 it has."""
    negative = randn(1, 5, 32, seed=11)
    plain = run1(stage1, [5], cfg=1.0, guidance="constant")
    assert error(run1(stage1, [5], cfg=1.0, guidance="constant", negative=negative), plain) < SAMPLING
    strong = run1(stage1, [5], cfg=8.0, guidance="constant")
    assert error(run1(stage1, [5], cfg=8.0, guidance="constant", negative=negative), strong) > 0.05
    assert error(run1(stage1, [5], cfg=8.0), strong) > 0.05  # the released scale is another one


def test_guidance_scales():
    released = [released_dynamic_cfg(8, t, 51) for t in stage1_schedule(51)[0]]
    assert [round(s, 3) for s in released[:4]] == [8.287, 4.004, 2.404, 5.046]
    assert all(1 <= s <= 9 for s in released)
    assert find_cfg_schedule("constant")(8, 999, 51) == 8
    cond, uncond = torch.tensor([3.0]), torch.tensor([1.0])
    assert apply_cfg(cond, uncond, 0) == uncond
    assert apply_cfg(cond, uncond, 1) == cond
    assert apply_cfg(cond, uncond, 8) == 17


def test_two_passes_equal_one_batch(stage1):
    x, txt = randn(2, 16, 2, 4, 6), randn(2, 5, 32, seed=9)
    together = make_cond_uncond(stage1, txt, torch.zeros_like(txt))(x, 500)
    apart = make_cond_uncond(stage1, txt, torch.zeros_like(txt), sequential=True)(x, 500)
    for a, b in zip(together, apart, strict=True):
        assert error(a, b) < SAMPLING


def test_samplers_pass_attention_and_on_block_to_the_network(stage1, stage2):
    blocks, calls = [], []

    def attend(q, k, v):
        calls.append(q.shape)
        return torch.nn.functional.scaled_dot_product_attention(q, k, v)

    run1(stage1, [0], steps=2, attention=attend, on_block=blocks.append)
    z_ref = randn(1, 16, 2, 4, 6)
    seams = {"attention": attend, "on_block": blocks.append}
    sample_stage2(stage2, z_ref, randn(1, 5, 32), noise=z_ref, steps=2, **seams)
    assert blocks == [0, 1] * 4
    assert len(calls) == 8


def test_raising_in_the_callback_stops_at_once(stage1):
    steps = []

    def stop(phase, step, total, preview):
        steps.append(step)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run1(stage1, [0], callback=stop)
    assert steps == [1]


def test_broken_weights_are_said_after_the_first_evaluation(stage1):
    calls = []

    def answer(x, timestep):
        calls.append(timestep)
        return x * float("nan")

    with pytest.raises(ValueError, match="NaN or infinity"):
        run1(Oracle(stage1.config, answer), [0], steps=6)
    assert len(calls) == 1


# schedules


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


def test_bad_stage2_settings(stage2):
    z = randn(1, 16, 1, 2, 2)
    bad = {"steps": (0, "steps is 0"), "shift": (0.0, "shift is 0.0"), "ref_step": (1000, "noise step is 1000")}
    for name, (value, says) in bad.items():
        with pytest.raises(ValueError, match=says):
            sample_stage2(stage2, z, randn(1, 5, 32), noise=z, **{name: value})
    with pytest.raises(ValueError, match="guidance is 'none'"):
        find_cfg_schedule("none")
