"""Checks of the bridge inside a process that has ComfyUI: run by test_comfy_bridge.py with ComfyUI's Python.

    python tests/comfy_checks.py RESULTS.json [name ...]

Every function check_* is one check; the results file gets {"name": null or the traceback}. The pack is loaded
as ComfyUI loads it, by its location and never from sys.path, where its `nodes` would hide ComfyUI's.
"""

import importlib
import importlib.util
import json
import logging
import os
import sys
import tempfile
import traceback
from pathlib import Path

sys.path.insert(0, os.environ["COMFYUI_PATH"])
import comfy.options

comfy.options.enable_args_parsing()
ARGUMENTS, sys.argv = sys.argv[1:], ["main.py", "--cpu", "--use-pytorch-cross-attention"]

import comfy.model_management as mm  # noqa: E402
import comfy.sample  # noqa: E402
import comfy.samplers  # noqa: E402
import comfy.sd  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

PACK, NAME = Path(__file__).resolve().parents[1], "flashvideo_pack"
DATA, SHARED = PACK / "tests" / "data", PACK.parent / "shared" / "golden"
STAGE1, STAGE2, VAE = (DATA / "checkpoints" / name for name in ("stage1.pt", "stage2.pt", "3d-vae.pt"))
FLOAT32 = {"dtype": torch.float32}
ONE_PASS, SAMPLING = 2e-5, 5e-5  # largest error over largest value


def load_pack():
    spec = importlib.util.spec_from_file_location(NAME, PACK / "__init__.py", submodule_search_locations=[str(PACK)])
    sys.modules[NAME] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[NAME])


def pack(module: str):
    return importlib.import_module(f"{NAME}.{module}")


def recorded(name: str) -> dict[str, torch.Tensor]:
    for folder in (DATA, SHARED):
        if (path := folder / f"{name}.safetensors").is_file():
            return load_file(path)
    raise Skipped(f"GOLDEN DATA ABSENT: {name}.safetensors is neither in {DATA} nor in {SHARED}")


def cond(txt: torch.Tensor) -> list:
    return [[txt, {}]]


def btc(x: torch.Tensor) -> torch.Tensor:
    """[B, T, C, H, W] <-> [B, C, T, H, W]."""
    return x.transpose(1, 2)


def assert_close(ours: torch.Tensor, wanted: torch.Tensor, tolerance: float) -> None:
    assert ours.shape == wanted.shape, (ours.shape, wanted.shape)
    error = float((ours - wanted).abs().max() / wanted.abs().max())
    assert error <= tolerance, f"error {error:.2e} over {tolerance:.0e}"


def load_stage(path, options=FLOAT32, **kwargs):
    return pack("nodes.bridge.models").load_model(path, options, **kwargs)


def small_inputs(batch: int = 1) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(3)
    txt, x = torch.randn(batch, 10, 32, generator=g), torch.randn(batch, 16, 3, 6, 8, generator=g)
    return {"x": x, "timestep": torch.full((batch,), 500.0), "context": txt}


def forward(patcher, inputs, **options) -> torch.Tensor:
    """One evaluation of the network of a patcher that is loaded as it is."""
    return patcher.model.diffusion_model(**inputs, transformer_options=options)


def refine(patcher, steps: int = 2, seed: int = 5) -> torch.Tensor:
    """A short core KSampler run on a stage-2 patcher."""
    g = torch.Generator().manual_seed(4)
    z, txt = torch.randn(1, 16, 2, 6, 8, generator=g), torch.randn(1, 10, 32, generator=g)
    noise = comfy.sample.prepare_noise(z, seed)
    positive, negative = cond(txt), cond(torch.zeros_like(txt))
    settings = {"disable_pbar": True, "seed": seed}
    return comfy.sample.sample(patcher, noise, steps, 13.0, "euler", "simple", positive, negative, z, **settings)


# Released results


def check_core_ksampler_gives_released_stage2():
    golden, model = recorded("stage2_sampler"), load_stage(STAGE2)
    z = btc(golden["ref_latent"]) / 1.15258426
    positive, negative = cond(golden["context_cond"]), cond(golden["context_uncond"])
    for n in (4, 5):
        noise = btc(golden[f"n{n}.ref_noise"])
        args = (model, noise, n, 13.0, "euler", "simple", positive, negative, z)
        out = comfy.sample.sample(*args, disable_pbar=True, seed=0)
        assert_close(out * 1.15258426, btc(golden[f"n{n}.final"]), SAMPLING)


def check_guider_sampler_sigmas_give_released_stage2():
    golden, model, s = recorded("stage2_sampler"), load_stage(STAGE2), pack("nodes.bridge.sampling")
    guider = s.Guider(model, cond(golden["context_cond"]), None, 13.0, "constant")
    z = btc(golden["ref_latent"]) / 1.15258426
    for n in (4, 5):
        args = (btc(golden[f"n{n}.ref_noise"]), z, s.sampler_of(model), s.sigmas_of(model, n))
        out = guider.sample(*args, disable_pbar=True, seed=0)
        assert_close(out * 1.15258426, btc(golden[f"n{n}.final"]), SAMPLING)


def check_guider_sampler_sigmas_give_released_stage1():
    golden, model, s = recorded("stage1_sampler"), load_stage(STAGE1), pack("nodes.bridge.sampling")
    guider = s.Guider(model, cond(golden["context_cond"]), None, 8.0, "released")
    for prefix, n in (("", 6), ("run51.", 51)):
        noise, draws = btc(golden[f"{prefix}noise_init"]), iter(golden[f"{prefix}noise_steps"])
        sampler = s.Stage1Sampler(lambda x, draws=draws: btc(next(draws)))
        out = guider.sample(noise, torch.zeros_like(noise), sampler, s.sigmas_of(model, n), disable_pbar=True, seed=0)
        assert next(draws, None) is None
        assert_close(out * 0.7, btc(golden[f"{prefix}final"]), SAMPLING)


def check_golden_end_to_end():
    golden, s = recorded("end_to_end"), pack("nodes.bridge.sampling")
    vae = pack("nodes.bridge.vae").load_vae(VAE)
    fitting = pack("nodes.bridge.fitting").FittingVAE(vae)
    stage1, stage2 = load_stage(STAGE1), load_stage(STAGE2)
    draws, noise = iter(golden["s1.noise_steps"]), btc(golden["s1.noise_init"])
    guider = s.Guider(stage1, cond(golden["s1.context_cond"]), None, 8.0, "released")
    sampler = s.Stage1Sampler(lambda x: btc(next(draws)))
    z1 = guider.sample(noise, torch.zeros_like(noise), sampler, s.sigmas_of(stage1, 6), disable_pbar=True, seed=0)
    assert_close(z1 * 0.7, btc(golden["s1.latent"]), SAMPLING)
    assert_close(vae.decode(z1)[0] * 255, golden["s1.frames"], SAMPLING)
    encode_draws = iter(golden["encode_noise"].split([5, 4, 4], dim=2))
    prepare = pack("flashvideo_core.handoff").prepare_reference
    z_ref = prepare(z1, fitting, size=(64, 96), draw_noise=lambda mean: next(encode_draws))
    assert_close(z_ref * 1.15258426, btc(golden["s2.ref_latent"]), SAMPLING)
    guider = s.Guider(stage2, cond(golden["s2.context_cond"]), None, 13.0, "constant")
    args = (btc(golden["s2.ref_noise"]), z_ref, s.sampler_of(stage2), s.sigmas_of(stage2, 4))
    z2 = guider.sample(*args, disable_pbar=True, seed=0)
    assert_close(z2 * 1.15258426, btc(golden["s2.latent"]), SAMPLING)
    vae.first_stage_model.device = torch.device("cpu")
    strips = pack("flashvideo_core.tiling").decode_released_strips(vae.first_stage_model, z2)
    assert_close((strips[0].permute(1, 2, 3, 0) + 1) * 127.5, golden["s2.frames"], SAMPLING)


def check_nodes_equal_the_pipeline():
    """The stage nodes and the command line's pipeline, on the same files, prompt embedding and seed."""
    txt, stages = torch.randn(1, 10, 32, generator=torch.Generator().manual_seed(0)), pack("nodes.stages")
    pipeline = pack("flashvideo_core.pipeline")
    pipe = pipeline.load_pipeline(STAGE1, STAGE2, VAE, lambda prompt: txt, "cpu", torch.float32)
    clip = pipeline.generate(pipe, "a fox", seed=7, frames=5, height=32, width=48, steps=4, size=(64, 96))
    vae, size = pack("nodes.bridge.vae").load_vae(VAE), {"width": 48, "height": 32, "frames": 5}
    settings = {"steps": 4, "cfg": 8.0, "guidance": "released", "preset": "custom", "drafts": 2, **size}
    drafts = stages.FlashVideoStage1.execute(load_stage(STAGE1), cond(txt), seed=6, **settings)[0]
    second = {"samples": drafts["samples"][1:]}  # the second draft of seed 6 is the draft of seed 7
    assert_close(second["samples"], clip.draft.latent, ONE_PASS)
    assert torch.equal(drafts["samples"][1:], run_alone(stages, txt, settings))
    draft_frames = stages.FlashVideoDecode.execute(vae, second, "auto", "auto", 8.0)[0]
    assert_close(draft_frames, clip.draft.frames, ONE_PASS)
    for source in ({"latent": second}, {"images": draft_frames}):
        reference = stages.FlashVideoHandoff.execute(vae, "custom", 96, 64, **source)[0]
        last = {"seed": 7, "steps": 4, "cfg": 13.0, "shift": 2.5, "noise_step": 675}
        refined = stages.FlashVideoStage2.execute(load_stage(STAGE2), cond(txt), reference, **last)[0]
        assert_close(refined["samples"], clip.latent, SAMPLING)
    images, video = stages.FlashVideoDecode.execute(vae, refined, "off", "auto", 8.0).args
    assert_close(images, clip.frames, SAMPLING)
    assert video.get_components().images.shape == images.shape == (5, 64, 96, 3)


def check_embedded_model_equals_the_command_line():
    """Loaders, prompt and stage nodes with the model of this pack, against generate() of the core."""
    pipeline, loaders, stages = pack("flashvideo_core.pipeline"), pack("nodes.loaders"), pack("nodes.stages")
    if not (pipeline.TINY / "stage2.safetensors").is_file():
        raise Skipped("EMBEDDED MODEL ABSENT: flashvideo_core/tiny holds no weights yet")
    prompt, size = "a red ball moves left", {"frames": 5, "height": 32, "width": 48}
    pipe = pipeline.load_pipeline(device="cpu", dtype=torch.float32)
    clip = pipeline.generate(pipe, prompt, seed=3, size=(64, 96), **size)
    one, two = (loaders.FlashVideoModelLoader.execute(name, "default")[0] for name in loaders.TINY_MODELS)
    vae = loaders.FlashVideoVAELoader.execute(loaders.TINY_NAME)[0]
    encoder = loaders.FlashVideoTextEncoderLoader.execute(loaders.TINY_NAME)[0]
    first, second = pipe.stage1.config.defaults, pipe.stage2.config.defaults
    txt1, txt2, zeros = pack("nodes.text").FlashVideoTextEncode.execute(encoder, prompt, second.motion, "").args
    settings = {"steps": first.steps, "cfg": first.cfg, "guidance": first.guidance, "preset": "custom", "drafts": 1}
    z = stages.FlashVideoStage1.execute(one, txt1, 3, negative=zeros, **settings, **size)[0]
    assert_close(z["samples"], clip.draft.latent, SAMPLING)
    z = stages.FlashVideoHandoff.execute(vae, "custom", 96, 64, latent=z)[0]
    settings = {"steps": second.steps, "cfg": second.cfg, "shift": second.shift, "noise_step": second.ref_step}
    z = stages.FlashVideoStage2.execute(two, txt2, z, seed=3, negative=zeros, **settings)[0]
    assert_close(z["samples"], clip.latent, SAMPLING)
    images = stages.FlashVideoDecode.execute(vae, z, "auto", "auto", 8.0)[0]
    assert_close(images, clip.frames, SAMPLING)


def run_alone(stages, txt, settings) -> torch.Tensor:
    alone = stages.FlashVideoStage1.execute(load_stage(STAGE1), cond(txt), seed=7, **{**settings, "drafts": 1})[0]
    return alone["samples"]


def check_core_custom_sampling_equals_the_stage_nodes():
    """SamplerCustomAdvanced with RandomNoise and our GUIDER, SAMPLER, SIGMAS draws the draft of the same seed."""
    extras = importlib.import_module("comfy_extras.nodes_custom_sampler")
    txt, model, custom = torch.randn(1, 10, 32), load_stage(STAGE1), pack("nodes.custom")
    size = {"preset": "custom", "width": 48, "height": 32, "frames": 5, "drafts": 1}
    settings = {"seed": 9, "steps": 4, "cfg": 8.0, "guidance": "released", **size}
    wanted = pack("nodes.stages").FlashVideoStage1.execute(model, cond(txt), **settings)[0]["samples"]
    guider = custom.FlashVideoGuider.execute(model, cond(txt), 8.0, "released")[0]
    sampler, sigmas = custom.FlashVideoSampler.execute(model)[0], custom.FlashVideoSigmas.execute(model, 4)[0]
    noise, latent = extras.Noise_RandomNoise(9), {"samples": torch.zeros(1, 16, 2, 4, 6)}
    out = extras.SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent)[0]
    assert torch.equal(out["samples"], wanted)


# Stage 1 on ComfyUI's own samplers


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
        assert_close(out, schedule.clean_from_velocity(inputs["x"], v, a), ONE_PASS)


def check_core_sde_sampler_agrees_on_stage1():
    """ComfyUI's dpmpp_2m_sde is the same solver on the 1000-entry table: the same noise gives nearly the same."""
    model, s, n = load_stage(STAGE1), pack("nodes.bridge.sampling"), 20
    txt, noise = torch.randn(1, 10, 32), torch.randn(1, 16, 2, 4, 6)
    step_noise = [torch.randn(1, 16, 2, 4, 6) for _ in range(2 * n)]
    guider, sigmas = s.Guider(model, cond(txt), None, 3.0, "constant"), s.sigmas_of(model, n)
    draws = iter(step_noise)
    ours = guider.sample(noise, torch.zeros_like(noise), s.Stage1Sampler(lambda x: next(draws)), sigmas, seed=0)
    used = iter(step_noise[:1] + step_noise[2 : 2 * n : 2])  # ours throws away the first of two
    core = comfy.samplers.ksampler("dpmpp_2m_sde", {"noise_sampler": lambda a, b: next(used)})
    theirs = guider.sample(noise, torch.zeros_like(noise), core, sigmas, seed=0)
    assert_close(theirs, ours, 0.05)
    assert float((theirs - ours).abs().max()) > 0


def check_foreign_sigmas_are_refused():
    model, s = load_stage(STAGE1), pack("nodes.bridge.sampling")
    guider, noise = s.Guider(model, cond(torch.randn(1, 10, 32)), None, 3.0, "constant"), torch.randn(1, 16, 2, 4, 6)
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "karras", 6)
    with raises(ValueError, "FlashVideo Sigmas"):
        guider.sample(noise, torch.zeros_like(noise), s.Stage1Sampler(), sigmas, disable_pbar=True, seed=0)


def check_split_and_partial_flow():
    """Half of the steps, then the other half without noise, is the whole; ModelSamplingSD3 keeps the direction."""
    model, s = load_stage(STAGE2), pack("nodes.bridge.sampling")
    guider = s.Guider(model, cond(torch.randn(1, 10, 32)), None, 3.0, "constant")
    z, noise, sigmas = torch.randn(1, 16, 2, 4, 6), torch.randn(1, 16, 2, 4, 6), s.sigmas_of(model, 4)
    whole = guider.sample(noise, z, s.sampler_of(model), sigmas, disable_pbar=True, seed=0)
    half = guider.sample(noise, z, s.sampler_of(model), sigmas[:3], disable_pbar=True, seed=0)
    rest = guider.sample(torch.zeros_like(noise), half, s.sampler_of(model), sigmas[2:], disable_pbar=True, seed=0)
    assert_close(rest, whole, SAMPLING)


# ComfyUI's features on the MODEL


def check_generic_lora_equals_merged_weights():
    import comfy.lora

    model = load_stage(STAGE2)
    down, up = torch.randn(4, 128), torch.randn(384, 4)
    name = "diffusion_model.blocks.0.qkv"
    for keys in ((f"{name}.lora_A.weight", f"{name}.lora_B.weight"), lora_unet(name)):
        patched, _ = comfy.sd.load_lora_for_models(model, None, {keys[0]: down, keys[1]: up}, 0.5, 0.0)
        mm.load_models_gpu([patched], force_full_load=True)
        with_lora = forward(patched, small_inputs())
        mm.unload_all_models()
        merged = load_stage(STAGE2)
        merged.model.diffusion_model.blocks[0].qkv.weight.data += 0.5 * up @ down
        assert_close(with_lora, forward(merged, small_inputs()), SAMPLING)


def lora_unet(name: str) -> tuple[str, str]:
    stem = "lora_unet_" + name.removeprefix("diffusion_model.").replace(".", "_")
    return f"{stem}.lora_down.weight", f"{stem}.lora_up.weight"


def check_diffusers_lora_on_stage1():
    """Each of diffusers' layers, in each spelling, against weights merged by hand."""
    layers = {"attn1.to_q": 1, "attn1.to_k": 1, "attn1.to_v": 1, "attn1.to_out.0": 1, "ff.net.0.proj": 4}
    layers |= {"ff.net.2": 1, "norm1.linear": 6, "norm2.linear": 6}
    inner = {"ff.net.2": 4 * 128, "norm1.linear": 64, "norm2.linear": 64}
    g = torch.Generator().manual_seed(1)
    pairs = {
        name: (torch.randn(4, inner.get(name, 128), generator=g), torch.randn(n * 128, 4, generator=g))
        for name, n in layers.items()
    }
    delta = {name: up @ down for name, (down, up) in pairs.items()}
    merged = load_stage(STAGE1)
    block, d = merged.model.diffusion_model.blocks[1], 128
    block.qkv.weight.data += torch.cat([delta["attn1.to_q"], delta["attn1.to_k"], delta["attn1.to_v"]])
    block.attn_out.weight.data += delta["attn1.to_out.0"]
    block.mlp_up.weight.data += delta["ff.net.0.proj"]
    block.mlp_down.weight.data += delta["ff.net.2"]
    one, two = delta["norm1.linear"], delta["norm2.linear"]  # video's shift, scale, gate, then the text's
    block.modulation.weight.data += torch.cat([one[: 3 * d], two[: 3 * d], one[3 * d :], two[3 * d :]])
    wanted = forward(merged, small_inputs())
    dotted, flat, alphas = {}, {}, {}
    for name, (down, up) in pairs.items():
        long, short = f"transformer.transformer_blocks.1.{name}", f"lora_unet_transformer_blocks_1_{name}"
        short = short.replace(".", "_")
        dotted |= {f"{long}.lora_A.weight": down, f"{long}.lora_B.weight": up}
        flat |= {f"{short}.lora_down.weight": down, f"{short}.lora_up.weight": up}
        alphas[f"{short}.alpha"] = torch.tensor(2.0)
    assert_close(with_lora(dotted), wanted, SAMPLING)
    assert_close(with_lora(flat), wanted, SAMPLING)
    halved = with_lora(flat | alphas)  # alpha 2 of rank 4
    assert_close(halved, with_lora(dotted, 0.5), SAMPLING)
    assert (halved - wanted).abs().max() > 0.01


def with_lora(tensors: dict, strength: float = 1.0) -> torch.Tensor:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lora.safetensors"
        save_file({name: t.contiguous() for name, t in tensors.items()}, path)
        patched = pack("nodes.bridge.lora").apply_lora(load_stage(STAGE1), path, strength)
    mm.load_models_gpu([patched], force_full_load=True)
    return forward(patched, small_inputs())


def check_a_lora_of_ours_equals_its_merge():
    """What training writes, by ComfyUI's own loader and by ours, is what `convert --lora` merges."""
    lora = pack("flashvideo_core.training.lora")
    model = lora.add_lora(pack("flashvideo_core.checkpoint").load_transformer(STAGE2), 4, 2.0)
    trained = {name: torch.randn_like(p) / 10 for name, p in model.named_parameters() if p.requires_grad}
    with tempfile.TemporaryDirectory() as folder:
        path, target = Path(folder) / "lora.safetensors", Path(folder) / "merged.safetensors"
        save_file(lora.lora_tensors(model, trained, torch.float32), path)
        pack("flashvideo_core.convert").convert(STAGE2, target, "float32", lora=path)
        wanted = forward(load_stage(target), small_inputs())
        theirs, _ = comfy.sd.load_lora_for_models(load_stage(STAGE2), None, load_file(path), 1.0, 0.0)
        ours = pack("nodes.bridge.lora").apply_lora(load_stage(STAGE2), path, 1.0)
        for patched in (theirs, ours):
            mm.load_models_gpu([patched], force_full_load=True)
            assert_close(forward(patched, small_inputs()), wanted, SAMPLING)
            mm.unload_all_models()
    assert float((wanted - forward(load_stage(STAGE2), small_inputs())).abs().max()) > 0.01


def check_lora_of_another_model_is_refused():
    with raises(ValueError, "made for another model"):
        with_lora({"transformer.layers.0.to_q.lora_A.weight": torch.randn(4, 8)})
    pair = {"A": torch.randn(4, 64), "B": torch.randn(64, 4)}
    with raises(ValueError, "does not fit stage 1"):
        with_lora({f"transformer_blocks.0.attn1.to_q.lora_{side}.weight": t for side, t in pair.items()})


def check_partial_load_is_identical():
    """Most weights stay offloaded and are cast on the way: nothing changes, with and without a LoRA."""
    for lora in (False, True):
        results = []
        for budget in (None, 200_000):
            model = load_stage(STAGE2)
            if lora:
                model.add_patches({"diffusion_model.blocks.1.mlp_up.weight": ("diff", (torch.full((512, 128), 0.01),))})
            if budget is None:
                model.patch_model(device_to=torch.device("cpu"))
            else:
                model.patch_model(device_to=torch.device("cpu"), lowvram_model_memory=budget)
                assert model.model.model_lowvram
                assert model.loaded_size() <= budget
            results.append(forward(model, small_inputs()))
        assert torch.equal(*results)


def check_clones_for_compile_and_multigpu():
    model = load_stage(STAGE2)
    wanted = refine(model)
    for clone in (model.clone(disable_dynamic=True), model.clone(disable_dynamic=True, force_deepcopy=True)):
        assert torch.equal(refine(clone), wanted)
    copy = model.deepclone_multigpu(torch.device("cpu"))
    assert copy.model is not model.model
    assert torch.equal(refine(copy), wanted)
    vae = pack("nodes.bridge.vae").load_vae(VAE)
    assert vae.patcher.clone(force_deepcopy=True).model is not vae.patcher.model


def check_torch_compile():
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    model = load_stage(STAGE2)
    compiled = model.clone(disable_dynamic=True)
    set_torch_compile_wrapper(model=compiled, backend="aot_eager")
    assert_close(refine(compiled), refine(model), SAMPLING)


def check_fp8_storage():
    """e4m3 weights are cast on the way: exactly the result of weights rounded to e4m3."""
    model = load_stage(STAGE2, {"dtype": torch.float8_e4m3fn})
    assert model.model.diffusion_model.blocks[0].qkv.weight.dtype == torch.float8_e4m3fn
    rounded = load_stage(STAGE2)
    for p in rounded.model.diffusion_model.parameters():
        p.data = p.data.to(torch.float8_e4m3fn).float()
    assert_close(refine(model), refine(rounded), SAMPLING)


def check_scaled_fp8_file():
    """The converter's fp8 file stays quantised in ComfyUI and gives what the core computes from it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stage2_fp8.safetensors"
        pack("flashvideo_core.convert").convert(STAGE2, path, "fp8")
        core = pack("flashvideo_core.checkpoint").load_transformer(path)
        model = load_stage(path, {})
    mm.load_models_gpu([model], force_full_load=True)
    weight = model.model.diffusion_model.blocks[0].qkv.weight
    assert type(weight).__name__ == "QuantizedTensor"
    inputs, dtype = small_inputs(), model.model.get_dtype_inference()
    inputs = {name: t if name == "timestep" else t.to(dtype) for name, t in inputs.items()}
    ours = forward(model, {**inputs, "ref_step": 675}).float()
    wanted = -core(inputs["x"].float(), inputs["timestep"], inputs["context"].float(), 675)
    assert_close(ours, wanted, 0.05)  # ComfyUI may quantise the activations as well


def check_attention_override_and_wrappers():
    model, calls = load_stage(STAGE1), []
    mm.load_models_gpu([model], force_full_load=True)
    plain = forward(model, small_inputs())

    def override(function, *args, **kwargs):
        calls.append((args[0].shape, kwargs["skip_reshape"]))
        return function(*args, **kwargs)

    assert torch.equal(forward(model, small_inputs(), optimized_attention_override=override), plain)
    assert calls == [((1, 2, 46, 64), True)] * 2

    def wrapper(executor, *args, **kwargs):
        return 2 * executor(*args, **kwargs)

    wrappers = {"diffusion_model": {"test": [wrapper]}}
    assert torch.equal(forward(model, small_inputs(), wrappers=wrappers), 2 * plain)


def check_interrupt_within_one_block():
    model, calls = load_stage(STAGE2), []
    mm.load_models_gpu([model], force_full_load=True)

    def override(function, *args, **kwargs):
        calls.append(1)
        mm.interrupt_current_processing()
        return function(*args, **kwargs)

    with raises(mm.InterruptProcessingException, ""):
        forward(model, small_inputs(), optimized_attention_override=override)
    assert len(calls) == 1, "the second of two blocks was still computed"


def check_broken_weights_are_reported_after_one_evaluation():
    model, calls = load_stage(STAGE2), []
    model.model.diffusion_model.blocks[0].qkv.weight.data[0, 0] = float("nan")
    model.model_options["transformer_options"]["optimized_attention_override"] = count_calls(calls)
    with raises(ValueError, "NaN"):
        refine(model, steps=4)
    assert len(calls) == 2, "two blocks of one evaluation"


def count_calls(calls: list):
    def override(function, *args, **kwargs):
        calls.append(1)
        return function(*args, **kwargs)

    return override


def check_odd_sizes_are_padded_and_cropped():
    model, inputs = load_stage(STAGE1), small_inputs()
    mm.load_models_gpu([model], force_full_load=True)
    out = forward(model, {**inputs, "x": inputs["x"][..., :5, :7]})
    assert out.shape == (1, 16, 3, 5, 7)


def check_memory_estimates():
    """What ComfyUI reserves is the core's estimate (measured in test_memory.py) with a tenth to spare."""
    model, vae, memory = load_stage(STAGE2), pack("nodes.bridge.vae").load_vae(VAE), pack("flashvideo_core.memory")
    full = memory.transformer_peak(model.model.diffusion_model.config, 2, (13, 134, 240), 4)
    assert model.model.memory_required([2, 16, 13, 134, 240]) == 1.1 * full
    config = vae.first_stage_model.config
    decode, encode = (memory.vae_peak(config, kind, 1072, 1920, 2) for kind in ("decode", "encode"))
    assert vae.memory_used_decode((2, 16, 13, 134, 240), torch.float16) == 2 * decode
    assert vae.memory_used_encode((1, 3, 49, 1072, 1920), torch.float16) == encode


def check_preview_factors():
    """A previewer draws a picture of the latent's size; both stages show the same latent alike."""
    import latent_preview

    pictures = []
    for path, scale in ((STAGE1, 0.7), (STAGE2, 1.15258426)):
        model, z = load_stage(path), torch.linspace(-1, 1, 16).view(1, 16, 1, 1, 1).expand(1, 16, 2, 6, 8)
        previewer = latent_preview.Latent2RGBPreviewer(model.model.latent_format.latent_rgb_factors)
        pictures.append(previewer.decode_latent_to_preview(scale * z))
        assert pictures[-1].size == (8, 6)
    assert pictures[0].tobytes() == pictures[1].tobytes()


def check_preview_factors_of_the_file():
    """A file's own factors: pictures of latents in VAE units, whatever the stage's scale."""
    import latent_preview

    preview, config = pack("nodes.bridge.preview"), pack("flashvideo_core.config").STAGE2
    rows = torch.randn(17, 3) / 8
    latent = preview.StageLatent(config, {"latent_rgb": json.dumps(rows.tolist())})
    z = torch.randn(1, 16, 2, 6, 8)
    previewer = latent_preview.Latent2RGBPreviewer(latent.latent_rgb_factors, latent.latent_rgb_factors_bias)
    picture = previewer.decode_latent_to_preview(latent.process_in(z))
    wanted = torch.einsum("chw,cr->hwr", z[0, :, 0], rows[:16]) + rows[16]
    found = torch.tensor(list(picture.getdata())).view(6, 8, 3) / 127.5 - 1
    assert (found - wanted.clamp(-1, 1)).abs().max() < 0.01


def check_embedded_preview_shows_the_colours():
    """The preview of a rendered clip's latent has the colours of its first frame, in small."""
    import latent_preview
    import numpy

    tiny, world = pack("flashvideo_core.parts").TINY, pack("flashvideo_core.training.world")
    if not (tiny / "stage1.safetensors").is_file():
        raise Skipped("EMBEDDED MODEL ABSENT: flashvideo_core/tiny holds no weights yet")
    vae = pack("flashvideo_core.checkpoint").load_vae(tiny / "vae.safetensors")
    latent = load_stage(tiny / "stage1.safetensors").model.latent_format
    previewer = latent_preview.Latent2RGBPreviewer(latent.latent_rgb_factors, latent.latent_rgb_factors_bias)
    shown, wanted = [], []
    for seed in range(6):
        frames = world.render(world.sample_scene(numpy.random.default_rng(seed)), height=64, width=96)[None, :, :5]
        picture = previewer.decode_latent_to_preview(latent.process_in(vae.encode(frames)))
        shown.append(torch.tensor(list(picture.getdata())).float().flatten())
        wanted.append(torch.nn.functional.avg_pool2d(frames[0, :, 0], 8).permute(1, 2, 0).flatten())
    assert float(torch.corrcoef(torch.stack([torch.cat(shown), torch.cat(wanted)]))[0, 1]) > 0.9


def check_packs_that_replace_the_previewer_take_part():
    """Video Helper Suite's way: latent_preview.get_previewer is replaced while the server runs."""
    import latent_preview

    class Spy(latent_preview.LatentPreviewer):
        def __init__(self):
            self.shapes = []

        def decode_latent_to_preview_image(self, preview_format, x0):
            self.shapes.append(tuple(x0.shape))

    spy, real, s = Spy(), latent_preview.get_previewer, pack("nodes.bridge.sampling")
    latent_preview.get_previewer = lambda device, latent_format: spy
    settings = {"seed": 0, "drafts": 2, "steps": 3, "cfg": 8.0, "guidance": "released"}
    s.run_stage1(load_stage(STAGE1), cond(torch.randn(1, 10, 32)), None, (16, 2, 4, 6), **settings)
    latent_preview.get_previewer = real
    assert spy.shapes == [(1, 16, 2, 4, 6)] * 6


def check_runs_leave_no_tensor_behind():
    import gc

    stages, txt, vae = pack("nodes.stages"), torch.randn(1, 10, 32), pack("nodes.bridge.vae").load_vae(VAE)
    one, two = load_stage(STAGE1), load_stage(STAGE2)

    def run(seed: int) -> int:
        size = {"preset": "custom", "width": 32, "height": 32, "frames": 5, "drafts": 1}
        z = stages.FlashVideoStage1.execute(one, cond(txt), seed, 2, 8.0, "released", **size)[0]
        z = stages.FlashVideoHandoff.execute(vae, "4x the draft", 0, 0, latent=z)[0]
        z = stages.FlashVideoStage2.execute(two, cond(txt), z, seed, 2, 13.0, 2.5, 675)[0]
        stages.FlashVideoDecode.execute(vae, z, "auto", "auto", 8.0)
        del z
        gc.collect()
        return sum(isinstance(item, torch.Tensor) for item in gc.get_objects())

    counts = [run(seed) for seed in range(5)]
    assert counts[1] == counts[-1], counts


# VAE


def check_vae_on_core_nodes():
    import nodes

    golden, records = recorded("vae"), []
    with watched_log(records):
        vae = pack("nodes.bridge.vae").load_vae(VAE)
    assert not records, records
    assert isinstance(vae, comfy.sd.VAE)
    for name in ("dec1", "dec5", "dec13", "dec2"):
        frames = nodes.VAEDecode().decode(vae, {"samples": golden[f"{name}.z"]})[0]
        assert_close(frames * 255, golden[f"{name}.frames"], ONE_PASS)
    for name in ("enc1", "enc9", "enc17", "enc49"):
        frames = (golden[f"{name}.x"][0].permute(1, 2, 3, 0) + 1) / 2
        assert_close(nodes.VAEEncode().encode(vae, frames)[0]["samples"], golden[f"{name}.moments"][:, :16], ONE_PASS)
    trimmed = nodes.VAEEncode().encode(vae, torch.rand(11, 32, 48, 3))[0]["samples"]
    assert trimmed.shape == (1, 16, 3, 4, 6)
    z = golden["dec5.z"].repeat(1, 1, 1, 4, 3)
    tiled = nodes.VAEDecodeTiled().decode(vae, {"samples": z}, 96, 32)[0]
    assert tiled.shape == (17, 128, 144, 3)
    assert nodes.VAEEncodeTiled().encode(vae, tiled, 96, 32)[0]["samples"].shape == z.shape


def check_diffusers_vae_file():
    """The released golden VAE renamed to diffusers' keys, which is what ComfyUI's CogVideoX files hold."""
    released = torch.load(VAE, map_location="cpu", weights_only=True)["state_dict"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cogvideox_vae.safetensors"
        save_file({diffusers_name(k): v for k, v in released.items() if not k.startswith("loss")}, path)
        theirs = pack("nodes.bridge.vae").load_vae(path)
    golden = recorded("vae")
    assert_close(theirs.decode(golden["dec5.z"])[0] * 255, golden["dec5.frames"], ONE_PASS)


def diffusers_name(name: str) -> str:
    parts = name.split(".")
    if parts[1] == "mid":
        parts[1:3] = ["mid_block", "resnets", str(int(parts[2][-1]) - 1)]
    elif parts[1] in ("down", "up") and parts[3] == "block":
        level = int(parts[2]) if parts[1] == "down" else 3 - int(parts[2])
        parts[1:5] = [f"{parts[1]}_blocks", str(level), "resnets", parts[4]]
    elif parts[1] in ("down", "up"):
        level = int(parts[2]) if parts[1] == "down" else 3 - int(parts[2])
        parts[1:4] = [f"{parts[1]}_blocks", str(level), f"{parts[3]}rs", "0"]
    return ".".join(parts).replace("nin_shortcut", "conv_shortcut")


def check_decode_node_steps_down():
    """A pass that fails for want of memory is tried again in smaller tiles, and the blend covers the picture."""
    vae, fitting = pack("nodes.bridge.vae").load_vae(VAE), pack("nodes.bridge.fitting")
    z, sizes = torch.randn(1, 16, 1, 24, 40), []
    whole = fitting.FittingVAE(vae).decode(z)
    real = vae.first_stage_model.decoder.forward

    def limited(x, cache, first):
        sizes.append(tuple(x.shape[-2:]))
        if x.shape[-2] * x.shape[-1] > 20 * 20:
            raise torch.OutOfMemoryError("a card of this test's size")
        return real(x, cache, first)

    vae.first_stage_model.decoder.forward = limited
    frames = fitting.FittingVAE(vae, "off").decode(z)
    assert frames.shape == whole.shape
    assert sizes[0] == (24, 40)
    assert sizes[-1] == (16, 20), sizes
    with raises(ValueError, "tiling"):
        fitting.FittingVAE(vae, "huge")
    with raises(ValueError, "FlashVideo Load VAE"):
        fitting.FittingVAE(object())


def check_tiled_handoff_reports_both_phases():
    """Tiles of every pass count as one phase each, from above 0 to the end."""
    fitting = pack("nodes.bridge.fitting").FittingVAE(pack("nodes.bridge.vae").load_vae(VAE), "small")
    z, seen = torch.randn(1, 16, 1, 34, 8), {}

    def callback(phase, step, total, preview):
        seen.setdefault(phase, []).append((step, total))

    out = pack("flashvideo_core.handoff").prepare_reference(z, fitting, size=(288, 64), callback=callback)
    assert out.shape == (1, 16, 1, 36, 8)
    assert seen == {"draft_decode": [(1, 2), (2, 2)], "handoff": [(1, 2), (2, 2)]}, seen


# Text


def check_prompt_for_t5():
    """ComfyUI's own T5 classes (one small layer): plain text, the stages' prefixes, 226 tokens with a real end."""
    from comfy.supported_models_base import ClipTarget
    from comfy.text_encoders.cogvideo import CogVideoXTokenizer, cogvideo_te

    sizes = {"d_model": 64, "num_layers": 1, "d_ff": 128, "num_heads": 1, "d_kv": 64}
    clip = comfy.sd.CLIP(ClipTarget(CogVideoXTokenizer, cogvideo_te()), model_options={"t5xxl_model_config": sizes})
    for p in clip.cond_stage_model.parameters():
        torch.nn.init.normal_(p, std=0.1)
    encode, prompt = pack("nodes.bridge.clip").encode, "a (red:1.9) ball"
    text = pack("nodes.text").FlashVideoTextEncode.execute
    stage1, stage2, negative = text(clip, prompt, "medium motion", "").args
    assert torch.equal(stage1[0][0], encode(clip, prompt)[0][0])
    assert torch.equal(stage2[0][0], encode(clip, f"medium motion,{prompt}")[0][0])
    assert stage1[0][0].shape == (1, 226, 64) and not negative[0][0].any()
    escaped = clip.encode_from_tokens_scheduled(clip.tokenize("a \\(red:1.9\\) ball"))[0][0]
    assert torch.equal(stage1[0][0], escaped), "brackets were read as a weight"
    assert torch.equal(text(clip, prompt, "none", "blurry")[2][0][0], encode(clip, "blurry")[0][0])
    long = "ball " * 400
    assert encode(clip, long)[0][0].shape == (1, 226, 64)
    tokens = clip.tokenize(long)["t5xxl"][0]
    cut = {"t5xxl": [[*tokens[:225], (1, 1.0)]]}  # 1 ends a sentence
    assert torch.equal(encode(clip, long)[0][0], clip.encode_from_tokens_scheduled(cut)[0][0])


def check_text_of_another_length_is_not_repeated():
    """A negative shorter than the prompt runs as it is; ComfyUI's usual conditioning would repeat its tokens."""
    model, s = load_stage(STAGE2), pack("nodes.bridge.sampling")
    txt, short = torch.randn(1, 12, 32), torch.randn(1, 5, 32)
    z, noise = torch.randn(1, 16, 2, 4, 6), torch.randn(1, 16, 2, 4, 6)
    args = (noise, z, s.sampler_of(model), s.sigmas_of(model, 2))
    ours = s.Guider(model, cond(txt), cond(short), 3.0, "constant").sample(*args, disable_pbar=True, seed=0)
    core, schedule = pack("flashvideo_core.sampling"), pack("flashvideo_core.schedule")
    net = pack("flashvideo_core.checkpoint").load_transformer(STAGE2)
    times = schedule.stage2_times(2, 2.5)
    x = schedule.add_noise(1.15258426 * z, noise, schedule.zero_snr_sqrt_alphas()[675])

    def velocity(x, t):
        step = torch.tensor([1000 - 1000 * t])
        c, u = net(x, step, txt, 675), net(x, step, short, 675)
        return u + 3.0 * (c - u)

    assert_close(ours * 1.15258426, core.euler_flow(velocity, x, times), SAMPLING)


def check_wrong_files_in_loaders():
    with raises(ValueError, "VAE"):
        load_stage(VAE)
    with raises(ValueError, "model loader"):
        pack("nodes.bridge.vae").load_vae(STAGE1)


class Skipped(Exception):
    """What a check needs is not there."""


class watched_log(logging.Handler):
    """Collects what is logged at warning level or above."""

    def __init__(self, records: list):
        super().__init__(logging.WARNING)
        self.records = records

    def emit(self, record):
        self.records.append(record.getMessage())

    def __enter__(self):
        logging.getLogger().addHandler(self)

    def __exit__(self, *_):
        logging.getLogger().removeHandler(self)


class raises:
    """pytest.raises without pytest, which ComfyUI's environment may lack."""

    def __init__(self, kind: type, text: str):
        self.kind, self.text = kind, text

    def __enter__(self): ...

    def __exit__(self, kind, error, trace):
        assert kind is not None, f"no {self.kind.__name__}"
        return issubclass(kind, self.kind) and self.text in str(error)


def main(results: str, names: list[str]) -> None:
    torch.set_num_threads(2)
    load_pack()
    found = {name: value for name, value in globals().items() if name.startswith("check_")}
    out = {}
    for name in names or found:
        torch.manual_seed(0)
        try:
            with torch.inference_mode():
                found[name]()
            out[name] = None
        except Skipped as reason:
            out[name] = f"SKIP {reason}"
        except Exception:
            out[name] = traceback.format_exc()
        mm.unload_all_models()
        mm.interrupt_current_processing(False)
    Path(results).write_text(json.dumps(out))


if __name__ == "__main__":
    main(ARGUMENTS[0], ARGUMENTS[1:])
