"""Whole runs of the nodes in a real ComfyUI: files, cache, reproducible drafts, ComfyUI's own nodes, LoRAs, dtypes."""

import copy

import av
import pytest
import torch
from safetensors.torch import save_file
from support.comfy_models import with_saved_latents

pytestmark = pytest.mark.comfyui


def test_prompt_to_video_file_and_cache(server, prompt):
    first = server.complete(prompt)
    assert set(first.executed) == set(prompt)
    with av.open(str(server.base / "output" / first.outputs["save"]["images"][0]["filename"])) as file:
        frames = list(file.decode(video=0))
        stream = file.streams.video[0]
        assert (len(frames), stream.width, stream.height, stream.average_rate) == (5, 96, 64, 8)
    for change, again in (
        ({}, set()),
        ({"stage2": {"seed": 2}}, {"stage2", "decode", "save"}),
        ({"decode": {"fps": 16.0}}, {"decode", "save"}),
        ({"handoff": {"width": 112}}, {"handoff", "stage2", "decode", "save"}),
        ({"text": {"motion": "none"}}, {"text", "stage1", "handoff", "stage2", "decode", "save"}),
    ):
        for node, inputs in change.items():  # each beside the changes before it
            prompt[node]["inputs"] |= inputs
        result = server.complete(prompt)
        assert set(result.executed) == again, change


def test_stage1_alone_by_partial_execution_then_the_rest(server, prompt):
    prompt["stage1"]["inputs"]["seed"] = 77
    prompt["look"] = {"class_type": "VAEDecode", "inputs": {"samples": ["stage1", 0], "vae": ["vae", 0]}}
    prompt["show"] = {"class_type": "PreviewImage", "inputs": {"images": ["look", 0]}}
    part = server.complete(prompt, targets=["show"])
    assert "stage1" in part.executed and not {"handoff", "stage2", "save"} & set(part.executed)
    whole = server.complete(prompt)
    assert "stage1" in whole.cached
    assert {"handoff", "stage2", "decode", "save"} <= set(whole.executed)


def test_drafts_are_reproducible_singly(server, prompt):
    prompt["stage1"]["inputs"] |= {"drafts": 3, "seed": 10}
    several = server.saved_latents(server.complete(with_saved_latents(prompt, a=["stage1", 0])))["a"]
    prompt["stage1"]["inputs"] |= {"drafts": 1, "seed": 11}
    alone = server.saved_latents(server.complete(with_saved_latents(prompt, b=["stage1", 0])))["b"]
    assert several.shape == (3, 16, 2, 4, 6)
    assert torch.equal(several[1:2], alone)
    assert not torch.equal(several[0:1], alone)


def test_core_nodes_give_the_same(server, prompt):
    """KSampler equals Stage 2; custom sampling equals Stage 1; VAE Encode equals the hand-off's encoder."""
    sampling = {"steps": 4, "cfg": 13.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0, "seed": 1}
    links = {"positive": ["text", 1], "negative": ["text", 2], "latent_image": ["handoff", 0]}
    prompt["ksampler"] = {"class_type": "KSampler", "inputs": {"model": ["model2", 0], **links, **sampling}}
    guidance = {"cfg": 8.0, "guidance": "released", "positive": ["text", 0], "negative": ["text", 2]}
    prompt["guider"] = {"class_type": "FlashVideoGuider", "inputs": {"model": ["model1", 0], **guidance}}
    prompt["sigmas"] = {"class_type": "FlashVideoSigmas", "inputs": {"model": ["model1", 0], "steps": 4}}
    prompt["sampler"] = {"class_type": "FlashVideoSampler", "inputs": {"model": ["model1", 0]}}
    prompt["noise"] = {"class_type": "RandomNoise", "inputs": {"noise_seed": 1}}
    size = {"width": 48, "height": 32, "length": 5, "batch_size": 1}
    prompt["empty"] = {"class_type": "EmptyHunyuanLatentVideo", "inputs": size}
    links = {"noise": ["noise", 0], "guider": ["guider", 0], "sampler": ["sampler", 0], "sigmas": ["sigmas", 0]}
    prompt["custom"] = {"class_type": "SamplerCustomAdvanced", "inputs": {**links, "latent_image": ["empty", 0]}}
    prompt["frames"] = {"class_type": "VAEDecode", "inputs": {"samples": ["stage1", 0], "vae": ["vae", 0]}}
    resize = {"width": 96, "height": 64, "upscale_method": "nearest-exact", "crop": "disabled"}
    prompt["resize"] = {"class_type": "ImageScale", "inputs": {"image": ["frames", 0], **resize}}
    prompt["encode"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["resize", 0], "vae": ["vae", 0]}}
    same_size = {"vae": ["vae", 0], "images": ["resize", 0], "target": "custom", "width": 96, "height": 64}
    prompt["handoff2"] = {"class_type": "FlashVideoHandoff", "inputs": same_size}
    ends = {"a": "stage2", "b": "ksampler", "c": "stage1", "d": "custom", "e": "encode", "f": "handoff2"}
    out = server.saved_latents(server.complete(with_saved_latents(prompt, **{k: [v, 0] for k, v in ends.items()})))
    for ours, core in (("a", "b"), ("c", "d"), ("e", "f")):
        assert torch.allclose(out[ours], out[core], rtol=0, atol=1e-5 * float(out[core].abs().max())), (ours, core)


def test_saved_draft_is_loaded_and_refined(server, prompt):
    draft = server.complete(with_saved_latents(prompt, a=["stage1", 0], b=["stage2", 0]))
    wanted = server.saved_latents(draft)["b"]
    name = draft.outputs["a"]["latents"][0]["filename"]
    (server.base / "output" / name).rename(server.base / "input" / name)
    prompt["load"] = {"class_type": "LoadLatent", "inputs": {"latent": name}}
    prompt["handoff"]["inputs"]["latent"] = ["load", 0]
    resumed = server.complete(with_saved_latents(prompt, c=["stage2", 0]))
    assert "stage1" not in resumed.executed
    assert torch.equal(server.saved_latents(resumed)["c"], wanted)


def test_lora_loaders(server, prompt):
    """ComfyUI's own loader and ours on a generic LoRA; ours on diffusers' names. Each changes the draft alike."""
    (server.base / "models" / "loras").mkdir(exist_ok=True)
    g = torch.Generator().manual_seed(0)
    down, up = torch.randn(4, 64, generator=g), torch.randn(64, 4, generator=g)
    names = {"generic": "diffusion_model.blocks.0.attn_out", "cog": "transformer.transformer_blocks.0.attn1.to_out.0"}
    for file, name in names.items():
        pair = {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}
        save_file(pair, server.base / "models" / "loras" / f"{file}.safetensors")
    loaders = {
        "core": ("LoraLoaderModelOnly", {"lora_name": "generic.safetensors", "strength_model": 0.5}),
        "ours": ("FlashVideoLoRALoader", {"lora_name": "generic.safetensors", "strength": 0.5}),
        "cog": ("FlashVideoLoRALoader", {"lora_name": "cog.safetensors", "strength": 0.5}),
    }
    ends = {"plain": ["stage1", 0]}
    for name, (kind, inputs) in loaders.items():
        prompt[f"lora_{name}"] = {"class_type": kind, "inputs": {"model": ["model1", 0], **inputs}}
        prompt[f"stage1_{name}"] = copy.deepcopy(prompt["stage1"])
        prompt[f"stage1_{name}"]["inputs"]["model"] = [f"lora_{name}", 0]
        ends[name] = [f"stage1_{name}", 0]
    out = server.saved_latents(server.complete(with_saved_latents(prompt, **ends)))
    assert torch.equal(out["core"], out["ours"])
    assert torch.equal(out["core"], out["cog"])
    assert not torch.allclose(out["core"], out["plain"], atol=1e-3)


@pytest.mark.parametrize("dtype", ["fp8_e4m3fn", "bf16", "fp16", "fp32"])
def test_weight_dtypes(server, prompt, dtype):
    prompt["model1"]["inputs"]["weight_dtype"] = prompt["model2"]["inputs"]["weight_dtype"] = dtype
    latent = server.saved_latents(server.complete(with_saved_latents(prompt, a=["stage2", 0])))["a"]
    assert torch.isfinite(latent).all()
