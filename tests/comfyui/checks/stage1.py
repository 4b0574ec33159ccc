"""Stage 1 on ComfyUI's own samplers, foreign sigmas, and runs in two halves."""

import comfy.model_management as mm
import comfy.samplers
import torch

from .setting import (
    ONE_PASS,
    SAMPLING,
    STAGE1,
    STAGE2,
    assert_close,
    conditioning,
    forward,
    load_stage,
    pack,
    raises,
    recorded,
    small_inputs,
)


def check_stage1_denoised_is_the_formula():
    """What every core sampler sees: a x - sqrt(1 - a^2) v at the table's alpha, whatever the sigma."""
    model, golden = load_stage(STAGE1), recorded("stage1_sampler")
    mm.load_models_gpu([model], force_full_load=True)
    schedule, inputs = pack("flashvideo_core.schedule"), small_inputs()
    for t in (998, 700, 300, 19):
        a = float(golden["denoiser_table"][t])
        v = forward(model, {**inputs, "timestep": torch.tensor([float(t)])})
        sigma = model.model.model_sampling.sigmas[t].view(1)
        x = inputs["x"] * (1 + sigma**2).sqrt()
        out = model.model.apply_model(x, sigma, c_crossattn=inputs["context"], transformer_options={})
        assert_close(out, schedule.velocity_to_denoised(inputs["x"], v, a), ONE_PASS)


def check_core_sde_sampler_agrees_on_stage1():
    """ComfyUI's dpmpp_2m_sde is the same solver on the 1000-entry table: the same noise gives nearly the same."""
    model, sampling, n = load_stage(STAGE1), pack("nodes.bridge.sampling"), 20
    txt, noise = torch.randn(1, 10, 32), torch.randn(1, 16, 2, 4, 6)
    step_noise = [torch.randn(1, 16, 2, 4, 6) for _ in range(2 * n)]
    guider, sigmas = sampling.Guider(model, conditioning(txt), None, 3.0, "constant"), sampling.make_sigmas(model, n)
    draws = iter(step_noise)
    ours = guider.sample(noise, torch.zeros_like(noise), sampling.Stage1Sampler(lambda x: next(draws)), sigmas, seed=0)
    used = iter(step_noise[:1] + step_noise[2 : 2 * n : 2])  # ours throws away the first of two
    core = comfy.samplers.ksampler("dpmpp_2m_sde", {"noise_sampler": lambda a, b: next(used)})
    theirs = guider.sample(noise, torch.zeros_like(noise), core, sigmas, seed=0)
    assert_close(theirs, ours, 0.05)
    assert float((theirs - ours).abs().max()) > 0


def check_foreign_sigmas_are_refused():
    model, sampling = load_stage(STAGE1), pack("nodes.bridge.sampling")
    txt, noise = torch.randn(1, 10, 32), torch.randn(1, 16, 2, 4, 6)
    guider = sampling.Guider(model, conditioning(txt), None, 3.0, "constant")
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "karras", 6)
    with raises(ValueError, "FlashVideo Sigmas"):
        guider.sample(noise, torch.zeros_like(noise), sampling.Stage1Sampler(), sigmas, disable_pbar=True, seed=0)


def check_split_and_partial_flow():
    """Half of the steps, then the other half without noise, is the whole; ModelSamplingSD3 keeps the direction."""
    model, sampling = load_stage(STAGE2), pack("nodes.bridge.sampling")
    guider = sampling.Guider(model, conditioning(torch.randn(1, 10, 32)), None, 3.0, "constant")
    z, noise, sigmas = torch.randn(1, 16, 2, 4, 6), torch.randn(1, 16, 2, 4, 6), sampling.make_sigmas(model, 4)
    whole = guider.sample(noise, z, sampling.make_sampler(model), sigmas, disable_pbar=True, seed=0)
    half = guider.sample(noise, z, sampling.make_sampler(model), sigmas[:3], disable_pbar=True, seed=0)
    rest = guider.sample(
        torch.zeros_like(noise), half, sampling.make_sampler(model), sigmas[2:], disable_pbar=True, seed=0
    )
    assert_close(rest, whole, SAMPLING)
