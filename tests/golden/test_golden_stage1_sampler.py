"""The stage-1 sampler against the recorded runs of 6 and 51 steps: schedule, guidance, every step, the end."""

import pytest
import torch
from support.golden import CONFIG, SAMPLING, STAGE1_SCALE, compare, equal_to_the_last_bit, load_golden

from flashvideo_core.guidance import released_dynamic_cfg
from flashvideo_core.sampling import expand_negative, round_to_table_alpha, sample_stage1
from flashvideo_core.schedule import stage1_schedule, zero_snr_sqrt_alphas

INPUTS = {"noise_init", "noise_steps", "idx_countdown"}  # the countdown is upstream's own counter


@pytest.mark.parametrize(("steps", "prefix"), [(6, ""), (51, "run51.")])
def test_every_recorded_array(stage1, steps, prefix):
    golden = load_golden("stage1_sampler", prefix)
    golden = {name: value for name, value in golden.items() if not name.startswith("run51.")}
    text = load_golden("stage1_sampler")["context_cond"]
    ours, left = trace(stage1, golden["noise_init"], golden["noise_steps"], text, steps)
    assert left == 0, "the sampler must use every recorded draw"
    if not prefix:
        shared = {"context_uncond": expand_negative(text, None), "denoiser_table": zero_snr_sqrt_alphas()}
        compare("stage1_sampler", ours | shared, golden, INPUTS | {"context_cond"}, SAMPLING)
    else:  # the long run recorded fewer arrays
        compare("stage1_sampler", {k: v for k, v in ours.items() if k in golden}, golden, INPUTS, SAMPLING)


def test_schedules_are_exact():
    golden = load_golden("stage1_sampler")
    assert equal_to_the_last_bit(zero_snr_sqrt_alphas(), golden["denoiser_table"])
    for steps, prefix in ((6, ""), (51, "run51.")):
        timesteps, sqrt_alphas = stage1_schedule(steps)
        assert timesteps == [int(t) for t in golden[f"{prefix}timesteps"]]
        assert equal_to_the_last_bit(sqrt_alphas, golden[f"{prefix}schedule_alphas_cumprod_sqrt"])
        chosen = torch.tensor([round_to_table_alpha(float(a)) for a in sqrt_alphas[:-1]])
        assert equal_to_the_last_bit(chosen, golden[f"{prefix}alphas_cumprod_sqrt_denoiser"])


def trace(dit, noise, draws, text, steps: int):
    """One run and its inner states under the golden names, and how many draws were left over."""
    inputs, times, outs, clean = [], [], [], []
    cfg = CONFIG["s1"]["cfg"]
    todo = iter(draws)

    def watch(module, args, out):
        inputs.append(args[0][:1].transpose(1, 2))
        times.append(args[1][0])
        outs.append(out.flip(0).transpose(1, 2))  # recorded as [unconditional, conditional]

    def keep(phase, step, total, preview):
        assert (phase, step, total) == ("stage1", len(clean) + 1, steps)
        clean.append(preview().transpose(1, 2) * STAGE1_SCALE)

    hook = dit.register_forward_hook(watch)
    z = sample_stage1(
        dit,
        noise.transpose(1, 2),
        text,
        steps=steps,
        cfg=cfg,
        draw_noise=lambda x: next(todo).transpose(1, 2),
        callback=keep,
    )
    hook.remove()
    final = z.transpose(1, 2) * STAGE1_SCALE
    timesteps, sqrt_alphas = stage1_schedule(steps)
    ours = {
        "final": final,
        "x_after_step": torch.stack([*inputs[1:], final]),
        "net_out": torch.stack(outs),
        "denoised": torch.stack(clean),
        "timesteps": torch.stack(times),
        "cfg_scale": torch.tensor([released_dynamic_cfg(cfg, t, steps) for t in timesteps], dtype=torch.float64),
        "alphas_cumprod_sqrt": sqrt_alphas[:-1],
        "alphas_cumprod_sqrt_next": sqrt_alphas[1:],
        "alphas_cumprod_sqrt_denoiser": torch.tensor([round_to_table_alpha(float(a)) for a in sqrt_alphas[:-1]]),
        "schedule_alphas_cumprod_sqrt": sqrt_alphas,
        "schedule_timesteps": torch.tensor([-1.0, *timesteps[::-1]]),
    }
    return ours, len(list(todo))
