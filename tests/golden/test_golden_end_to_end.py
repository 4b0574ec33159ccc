"""The whole flow by public functions, from the recorded noises to the recorded frames of both stages."""

import pytest
import torch
from support.golden import CONFIG, SAMPLING, STAGE1_SCALE, STAGE2_SCALE, compare, load_golden

from flashvideo_core.guidance import released_dynamic_cfg
from flashvideo_core.handoff import prepare_reference
from flashvideo_core.sampling import expand_negative, round_to_table_alpha, sample_stage1, sample_stage2
from flashvideo_core.schedule import stage1_schedule, stage2_times
from flashvideo_core.tiling import decode_released_strips

S1, S2, E2E = CONFIG["s1"], CONFIG["s2"], CONFIG["e2e"]
INPUTS = {"s1.context_cond", "s2.context_cond", "s1.noise_init", "s1.noise_steps", "s1.idx_countdown"}
INPUTS |= {"encode_noise", "s2.ref_noise"}


@pytest.fixture(scope="module")
def golden():
    return load_golden("end_to_end")


def test_prompt_to_frames(stage1, stage2, vae, golden):
    draws = iter(golden["s1.noise_steps"])
    z1, inputs1, _ = watched(
        stage1,
        sample_stage1,
        golden["s1.noise_init"].transpose(1, 2),
        golden["s1.context_cond"],
        steps=S1["steps"],
        cfg=S1["cfg"],
        draw_noise=lambda x: next(draws).transpose(1, 2),
    )
    draft = vae.decode(z1)
    encode_draws = iter(golden["encode_noise"].split([5, 4, 4], dim=2))
    z_ref = prepare_reference(z1, vae, size=tuple(E2E["target"]), draw_noise=lambda mean: next(encode_draws))
    z2, inputs2, velocities = watched(
        stage2,
        sample_stage2,
        z_ref,
        golden["s2.context_cond"],
        noise=golden["s2.ref_noise"].transpose(1, 2),
        steps=E2E["s2_steps"],
        cfg=S2["cfg"],
        shift=S2["shift"],
        ref_step=S2["ref_step"],
    )
    assert next(draws, None) is None
    assert next(encode_draws, None) is None
    latent1 = z1.transpose(1, 2) * STAGE1_SCALE
    ours = {
        "s1.latent": latent1,
        "s1.x_after_step": torch.stack([*inputs1[1:], latent1]),
        "s1.frames": to_bytes(draft),
        "s2.ref_latent": z_ref.transpose(1, 2) * STAGE2_SCALE,
        "s2.x_before_step": torch.stack(inputs2),
        "s2.v": torch.stack(velocities),
        "s2.latent": z2.transpose(1, 2) * STAGE2_SCALE,
        "s2.frames": to_bytes(decode_released_strips(vae, z2)),  # as the released script decodes stage 2
    }
    compare("end_to_end", ours | schedules(golden), golden, INPUTS, SAMPLING)


def schedules(golden) -> dict[str, torch.Tensor]:
    timesteps, sqrt_alphas = stage1_schedule(S1["steps"])
    t = stage2_times(E2E["s2_steps"], S2["shift"])[:-1]
    scales = [released_dynamic_cfg(S1["cfg"], step, S1["steps"]) for step in timesteps]
    return {
        "s1.timesteps": torch.tensor(timesteps).float(),
        "s1.cfg_scale": torch.tensor(scales, dtype=torch.float64),
        "s1.alphas_cumprod_sqrt": sqrt_alphas[:-1],
        "s1.alphas_cumprod_sqrt_next": sqrt_alphas[1:],
        "s1.alphas_cumprod_sqrt_denoiser": torch.tensor([round_to_table_alpha(float(a)) for a in sqrt_alphas[:-1]]),
        "s1.context_uncond": expand_negative(golden["s1.context_cond"], None),
        "s2.context_uncond": expand_negative(golden["s2.context_cond"], None),
        "s2.t": t,
        "s2.idx": 1000 - 1000 * t,
    }


def watched(dit, sample, *args, cfg: float, **settings):
    """The sampler's result, the state before each evaluation, and each guided output (constant guidance)."""
    inputs, guided = [], []

    def watch(module, args, out):
        cond, uncond = out.transpose(1, 2).chunk(2)
        inputs.append(args[0][:1].transpose(1, 2))
        guided.append(uncond + cfg * (cond - uncond))

    hook = dit.register_forward_hook(watch)
    z = sample(dit, *args, cfg=cfg, **settings)
    hook.remove()
    return z, inputs, guided


def to_bytes(frames):
    return (frames[0].permute(1, 2, 3, 0) + 1) * 127.5
