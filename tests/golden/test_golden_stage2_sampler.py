"""The stage-2 sampler against the recorded runs of 4 and 5 steps: time grid, noised start, velocities, the end."""

import pytest
import torch
from support.golden import CONFIG, SAMPLING, STAGE2_SCALE, compare, equal_to_the_last_bit, load_golden

from flashvideo_core.sampling import expand_negative, sample_stage2
from flashvideo_core.schedule import add_noise, stage2_times, zero_snr_sqrt_alphas

S2 = CONFIG["s2"]
BF16 = {"bf16_idx", "bf16_t_grid"}  # a test of their own


@pytest.mark.parametrize("steps", S2["steps"])
def test_every_recorded_array(stage2, steps):
    golden, shared = load_golden("stage2_sampler", f"n{steps}."), load_golden("stage2_sampler")
    ours = trace(stage2, shared["ref_latent"], golden["ref_noise"], shared["context_cond"], steps)
    compare("stage2_sampler", ours, golden, {"ref_noise"} | BF16, SAMPLING)


def test_what_the_runs_share():
    golden = {name: value for name, value in load_golden("stage2_sampler").items() if name[:3] not in ("n4.", "n5.")}
    table = zero_snr_sqrt_alphas()
    ours = {
        "alphas_cumprod_sqrt_table": table,
        "ref_alphas_cumprod_sqrt": table[S2["ref_step"]][None],
        "context_uncond": expand_negative(golden["context_cond"], None),
    }
    compare("stage2_sampler", ours, golden, {"context_cond", "ref_latent"}, SAMPLING)
    assert equal_to_the_last_bit(table, golden["alphas_cumprod_sqrt_table"])


def test_noised_start():
    golden = load_golden("stage2_sampler")
    start = add_noise(golden["ref_latent"], golden["n4.ref_noise"], zero_snr_sqrt_alphas()[S2["ref_step"]])
    torch.testing.assert_close(start, golden["n4.x_before_step"][0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("steps", S2["steps"])
def test_the_released_grid_is_ours_rounded_to_bf16(steps):
    """The named deviation: the released run computes the same formula in bfloat16. Informational arrays."""
    golden = load_golden("stage2_sampler", f"n{steps}.")
    rest, shift = 1 - torch.arange(steps + 1, dtype=torch.bfloat16) / steps, S2["shift"]
    rounded = 1 - shift * rest / (1 + (shift - 1) * rest)
    assert torch.equal(rounded.float(), golden["bf16_t_grid"])
    assert torch.equal((1000 - 1000 * rounded[:-1]).float(), golden["bf16_idx"])
    assert (rounded.float() - stage2_times(steps, shift)).abs().max() < 0.006


def trace(dit, ref_latent, noise, text, steps: int):
    """One run and its inner states under the golden names. Golden latents are scaled and [1, T, 16, H, W]."""
    inputs, idx, outs, estimates = [], [], [], []

    def watch(module, args, out):
        inputs.append(args[0][:1].transpose(1, 2))
        idx.append(args[1][0])
        outs.append(out.transpose(1, 2))  # [conditional, unconditional], as recorded

    def keep(phase, step, total, preview):
        assert (phase, step, total) == ("stage2", len(estimates) + 1, steps)
        estimates.append(preview().transpose(1, 2) * STAGE2_SCALE)

    hook = dit.register_forward_hook(watch)
    z = sample_stage2(
        dit,
        ref_latent.transpose(1, 2) / STAGE2_SCALE,
        text,
        noise=noise.transpose(1, 2),
        steps=steps,
        cfg=S2["cfg"],
        shift=S2["shift"],
        ref_step=S2["ref_step"],
        callback=keep,
    )
    hook.remove()
    grid = stage2_times(steps, S2["shift"])
    return {
        "final": z.transpose(1, 2) * STAGE2_SCALE,
        "t_grid": grid,
        "t": grid[:-1],
        "idx": torch.stack(idx),
        "net_out": torch.stack(outs),
        "x_before_step": torch.stack(inputs),
        "v": torch.stack([(e - x) / (1 - t) for e, x, t in zip(estimates, inputs, grid[:-1], strict=True)]),
    }
