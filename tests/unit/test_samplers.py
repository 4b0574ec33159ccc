"""Both samplers: networks that know the answer, seeds and batches, what goes to the network, what stops a run."""

import pytest
import torch
from support.golden import SAMPLING, error

from flashvideo_core.sampling import make_draw_noise, sample_stage1, sample_stage2
from flashvideo_core.schedule import add_noise, stage1_schedule, zero_snr_sqrt_alphas


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


def test_bad_stage2_settings(stage2):
    z = randn(1, 16, 1, 2, 2)
    bad = {"steps": (0, "steps is 0"), "shift": (0.0, "shift is 0.0"), "ref_step": (1000, "noise step is 1000")}
    for name, (value, says) in bad.items():
        with pytest.raises(ValueError, match=says):
            sample_stage2(stage2, z, randn(1, 5, 32), noise=z, **{name: value})
