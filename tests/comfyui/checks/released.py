"""What the released code recorded, by way of ComfyUI's samplers; the nodes against the core."""

import importlib

import comfy.sample
import torch

from .setting import (
    ONE_PASS,
    SAMPLING,
    STAGE1,
    STAGE2,
    VAE,
    assert_close,
    conditioning,
    load_stage,
    pack,
    recorded,
    to_bcthw,
)


def check_core_ksampler_gives_released_stage2():
    golden, model = recorded("stage2_sampler"), load_stage(STAGE2)
    z = to_bcthw(golden["ref_latent"]) / 1.15258426
    positive, negative = conditioning(golden["context_cond"]), conditioning(golden["context_uncond"])
    for n in (4, 5):
        noise = to_bcthw(golden[f"n{n}.ref_noise"])
        args = (model, noise, n, 13.0, "euler", "simple", positive, negative, z)
        out = comfy.sample.sample(*args, disable_pbar=True, seed=0)
        assert_close(out * 1.15258426, to_bcthw(golden[f"n{n}.final"]), SAMPLING)


def check_guider_sampler_sigmas_give_released_stage2():
    golden, model, sampling = recorded("stage2_sampler"), load_stage(STAGE2), pack("nodes.bridge.sampling")
    guider = sampling.Guider(model, conditioning(golden["context_cond"]), None, 13.0, "constant")
    z = to_bcthw(golden["ref_latent"]) / 1.15258426
    for n in (4, 5):
        args = (to_bcthw(golden[f"n{n}.ref_noise"]), z, sampling.make_sampler(model), sampling.make_sigmas(model, n))
        out = guider.sample(*args, disable_pbar=True, seed=0)
        assert_close(out * 1.15258426, to_bcthw(golden[f"n{n}.final"]), SAMPLING)


def check_guider_sampler_sigmas_give_released_stage1():
    golden, model, sampling = recorded("stage1_sampler"), load_stage(STAGE1), pack("nodes.bridge.sampling")
    guider = sampling.Guider(model, conditioning(golden["context_cond"]), None, 8.0, "released")
    for prefix, n in (("", 6), ("run51.", 51)):
        noise, draws = to_bcthw(golden[f"{prefix}noise_init"]), iter(golden[f"{prefix}noise_steps"])
        sampler = sampling.Stage1Sampler(lambda x, draws=draws: to_bcthw(next(draws)))
        out = guider.sample(
            noise, torch.zeros_like(noise), sampler, sampling.make_sigmas(model, n), disable_pbar=True, seed=0
        )
        assert next(draws, None) is None
        assert_close(out * 0.7, to_bcthw(golden[f"{prefix}final"]), SAMPLING)


def check_golden_end_to_end():
    golden, sampling = recorded("end_to_end"), pack("nodes.bridge.sampling")
    vae = pack("nodes.bridge.vae").load_vae(VAE)
    fallback = pack("nodes.bridge.vae_fallback").FallbackVAE(vae)
    stage1, stage2 = load_stage(STAGE1), load_stage(STAGE2)
    draws, noise = iter(golden["s1.noise_steps"]), to_bcthw(golden["s1.noise_init"])
    guider = sampling.Guider(stage1, conditioning(golden["s1.context_cond"]), None, 8.0, "released")
    sampler = sampling.Stage1Sampler(lambda x: to_bcthw(next(draws)))
    z1 = guider.sample(
        noise, torch.zeros_like(noise), sampler, sampling.make_sigmas(stage1, 6), disable_pbar=True, seed=0
    )
    assert_close(z1 * 0.7, to_bcthw(golden["s1.latent"]), SAMPLING)
    assert_close(vae.decode(z1)[0] * 255, golden["s1.frames"], SAMPLING)
    encode_draws = iter(golden["encode_noise"].split([5, 4, 4], dim=2))
    prepare = pack("flashvideo_core.handoff").prepare_reference
    z_ref = prepare(z1, fallback, size=(64, 96), draw_noise=lambda mean: next(encode_draws))
    assert_close(z_ref * 1.15258426, to_bcthw(golden["s2.ref_latent"]), SAMPLING)
    guider = sampling.Guider(stage2, conditioning(golden["s2.context_cond"]), None, 13.0, "constant")
    args = (to_bcthw(golden["s2.ref_noise"]), z_ref, sampling.make_sampler(stage2), sampling.make_sigmas(stage2, 4))
    z2 = guider.sample(*args, disable_pbar=True, seed=0)
    assert_close(z2 * 1.15258426, to_bcthw(golden["s2.latent"]), SAMPLING)
    vae.first_stage_model.device = torch.device("cpu")
    strips = pack("flashvideo_core.tiling").decode_released_strips(vae.first_stage_model, z2)
    assert_close((strips[0].permute(1, 2, 3, 0) + 1) * 127.5, golden["s2.frames"], SAMPLING)


def check_nodes_equal_the_pipeline():
    """The stage nodes and the command line's pipeline, on the same files, prompt embedding and seed."""
    txt, stages = torch.randn(1, 10, 32, generator=torch.Generator().manual_seed(0)), pack("nodes.stages")
    handoff, decode = pack("nodes.handoff").FlashVideoHandoff, pack("nodes.decode").FlashVideoDecode
    pipeline = pack("flashvideo_core.pipeline")
    pipe = pipeline.load_pipeline(STAGE1, STAGE2, VAE, lambda prompt: txt, "cpu", torch.float32)
    clip = pipeline.generate(pipe, "a fox", seed=7, frames=5, height=32, width=48, steps=4, size=(64, 96))
    vae, size = pack("nodes.bridge.vae").load_vae(VAE), {"width": 48, "height": 32, "frames": 5}
    settings = {"steps": 4, "cfg": 8.0, "guidance": "released", "preset": "custom", "drafts": 2, **size}
    drafts = stages.FlashVideoStage1.execute(load_stage(STAGE1), conditioning(txt), seed=6, **settings)[0]
    second = {"samples": drafts["samples"][1:]}  # the second draft of seed 6 is the draft of seed 7
    assert_close(second["samples"], clip.draft.latent, ONE_PASS)
    assert torch.equal(drafts["samples"][1:], run_alone(stages, txt, settings))
    draft_frames = decode.execute(vae, second, "auto", "auto", 8.0)[0]
    assert_close(draft_frames, clip.draft.frames, ONE_PASS)
    for source in ({"latent": second}, {"images": draft_frames}):
        reference = handoff.execute(vae, "custom", 96, 64, **source)[0]
        last = {"seed": 7, "steps": 4, "cfg": 13.0, "shift": 2.5, "noise_step": 675}
        refined = stages.FlashVideoStage2.execute(load_stage(STAGE2), conditioning(txt), reference, **last)[0]
        assert_close(refined["samples"], clip.latent, SAMPLING)
    images, video = decode.execute(vae, refined, "off", "auto", 8.0).args
    assert_close(images, clip.frames, SAMPLING)
    assert video.get_components().images.shape == images.shape == (5, 64, 96, 3)


def check_embedded_model_equals_the_command_line():
    """Loaders, prompt and stage nodes with the model of this pack, against generate() of the core."""
    pipeline, loaders, stages = pack("flashvideo_core.pipeline"), pack("nodes.loaders"), pack("nodes.stages")
    handoff, decode = pack("nodes.handoff").FlashVideoHandoff, pack("nodes.decode").FlashVideoDecode
    prompt, size = "a red ball moves left", {"frames": 5, "height": 32, "width": 48}
    pipe = pipeline.load_pipeline(device="cpu", dtype=torch.float32)
    clip = pipeline.generate(pipe, prompt, seed=3, size=(64, 96), **size)
    names = loaders.TINY_FILES["diffusion_models"]
    one, two = (loaders.FlashVideoModelLoader.execute(name, "default")[0] for name in names)
    vae = loaders.FlashVideoVAELoader.execute("tiny (embedded)")[0]
    encoder = loaders.FlashVideoTextEncoderLoader.execute("tiny (embedded)")[0]
    first, second = pipe.stage1.config.defaults, pipe.stage2.config.defaults
    txt1, txt2, zeros = pack("nodes.text").FlashVideoTextEncode.execute(encoder, prompt, second.motion, "").args
    settings = {"steps": first.steps, "cfg": first.cfg, "guidance": first.guidance, "preset": "custom", "drafts": 1}
    z = stages.FlashVideoStage1.execute(one, txt1, seed=3, negative=zeros, **settings, **size)[0]
    assert_close(z["samples"], clip.draft.latent, SAMPLING)
    z = handoff.execute(vae, "custom", 96, 64, latent=z)[0]
    settings = {"steps": second.steps, "cfg": second.cfg, "shift": second.shift, "noise_step": second.ref_step}
    z = stages.FlashVideoStage2.execute(two, txt2, z, seed=3, negative=zeros, **settings)[0]
    assert_close(z["samples"], clip.latent, SAMPLING)
    images = decode.execute(vae, z, "auto", "auto", 8.0)[0]
    assert_close(images, clip.frames, SAMPLING)


def run_alone(stages, txt, settings) -> torch.Tensor:
    alone = {**settings, "drafts": 1}
    return stages.FlashVideoStage1.execute(load_stage(STAGE1), conditioning(txt), seed=7, **alone)[0]["samples"]


def check_core_custom_sampling_equals_the_stage_nodes():
    """SamplerCustomAdvanced with RandomNoise and our GUIDER, SAMPLER, SIGMAS draws the draft of the same seed."""
    extras = importlib.import_module("comfy_extras.nodes_custom_sampler")
    txt, model, custom = torch.randn(1, 10, 32), load_stage(STAGE1), pack("nodes.custom")
    size = {"preset": "custom", "width": 48, "height": 32, "frames": 5, "drafts": 1}
    settings = {"seed": 9, "steps": 4, "cfg": 8.0, "guidance": "released", **size}
    wanted = pack("nodes.stages").FlashVideoStage1.execute(model, conditioning(txt), **settings)[0]["samples"]
    guider = custom.FlashVideoGuider.execute(model, conditioning(txt), 8.0, "released")[0]
    sampler, sigmas = custom.FlashVideoSampler.execute(model)[0], custom.FlashVideoSigmas.execute(model, 4)[0]
    noise, latent = extras.Noise_RandomNoise(9), {"samples": torch.zeros(1, 16, 2, 4, 6)}
    out = extras.SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent)[0]
    assert torch.equal(out["samples"], wanted)
