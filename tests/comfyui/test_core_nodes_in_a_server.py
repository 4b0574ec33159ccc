"""ComfyUI's nodes around our MODEL in a real server: what is refused and said appears at the node that samples."""

import base64

import pytest
from support.comfy_models import with_saved_latents
from support.comfyui import Prompt

pytestmark = pytest.mark.comfyui


def through_ksampler(prompt: Prompt, stage: int, sampler: str = "euler", scheduler: str = "simple") -> Prompt:
    """Stage 1 or 2 by ComfyUI's KSampler, its latent saved as `out`."""
    size = {"width": 48, "height": 32, "length": 5, "batch_size": 1}
    prompt["empty"] = {"class_type": "EmptyHunyuanLatentVideo", "inputs": size}
    inputs = {
        "positive": ["text", stage - 1],
        "negative": ["text", 2],
        "seed": 1,
        "steps": 20,
        "cfg": 3.0,
        "denoise": 1.0,
    }
    inputs |= {"model": [f"model{stage}", 0], "latent_image": ["empty" if stage == 1 else "handoff", 0], "denoise": 1.0}
    prompt["sample"] = {"class_type": "KSampler", "inputs": inputs | {"sampler_name": sampler, "scheduler": scheduler}}
    return with_saved_latents(prompt, out=["sample", 0])


def with_node(prompt: Prompt, before: str, class_type: str, **inputs: object) -> Prompt:
    """The prompt with a node on the way of the model to `before`."""
    prompt["patch"] = {"class_type": class_type, "inputs": {"model": prompt[before]["inputs"]["model"], **inputs}}
    prompt[before]["inputs"]["model"] = ["patch", 0]
    return prompt


ROPE = {"scale_x": 0.5, "shift_x": 0.0, "scale_y": 0.5, "shift_y": 0.0, "scale_t": 1.0, "shift_t": 0.0}
CACHE = {"reuse_threshold": 0.2, "start_percent": 0.15, "end_percent": 0.95, "verbose": False}


@pytest.mark.parametrize(
    ("stage", "sampler", "node", "inputs", "sentence"),
    [
        (2, "euler", "ModelSamplingSD3", {"shift": 3.0}, "FlashVideo Stage 2 Flow sets shift and noise step"),
        (1, "euler", "ModelSamplingDiscrete", {"sampling": "eps", "zsnr": False}, "remove the ModelSampling node"),
        (1, "euler", "LazyCache", CACHE, "EasyCache"),
        (2, "euler", "PerturbedAttentionGuidance", {"scale": 3.0}, "Spatio-Temporal Guidance"),
        (2, "ddpm", "ModelComputeDtype", {"dtype": "default"}, "use euler, as released"),
    ],
)
def test_what_does_not_suit_is_one_sentence_at_the_sampler(server, prompt, stage, sampler, node, inputs, sentence):
    result = server.run(with_node(through_ksampler(prompt, stage, sampler), "sample", node, **inputs))
    assert result.error_node == "sample"
    assert sentence in result.error
    assert len(result.error.strip().splitlines()) == 1


def test_a_weak_sampler_is_said_under_the_sampler(server, prompt):
    assert "heun does not suit stage 1" in said(server, through_ksampler(prompt, 1, "heun"), "sample")


def test_stage_2_says_whose_shift_it_takes(server, prompt):
    flow = {"shift": 4.0, "noise_step": 700}
    changed = with_node(with_saved_latents(prompt, out=["stage2", 0]), "stage2", "FlashVideoFlow", **flow)
    assert "shift 2.5 and noise_step 675 of this node replace" in said(server, changed, "stage2")


def test_stage_1_names_the_node_before_it(server, prompt):
    result = server.run(with_node(prompt, "stage1", "ModelSamplingSD3", shift=3.0))
    assert result.error_node == "stage1" and "remove the ModelSampling node" in result.error


def test_stage_2_keeps_what_a_mask_keeps(server, prompt):
    prompt["mask"] = {"class_type": "SolidMask", "inputs": {"value": 0.0, "width": 96, "height": 64}}
    prompt["masked"] = {"class_type": "SetLatentNoiseMask", "inputs": {"samples": ["handoff", 0], "mask": ["mask", 0]}}
    prompt["stage2"]["inputs"]["latent"] = ["masked", 0]
    result = server.complete(with_saved_latents(prompt, out=["stage2", 0], reference=["handoff", 0]))
    latents = server.saved_latents(result)
    assert (latents["out"] - latents["reference"]).abs().max() < 1e-5 * latents["reference"].abs().max()


def test_latents_and_frames_may_be_enlarged_on_the_way(server, prompt):
    """Latent Upscale straight into stage 2, and Upscale Image before the hand-off."""
    prompt["bigger"] = {
        "class_type": "LatentUpscaleBy",
        "inputs": {"samples": ["stage1", 0], "upscale_method": "bilinear", "scale_by": 2.0},
    }
    prompt["again"] = {
        "class_type": "FlashVideoStage2",
        "inputs": prompt["stage2"]["inputs"] | {"latent": ["bigger", 0]},
    }
    prompt["look"] = {"class_type": "VAEDecode", "inputs": {"samples": ["stage1", 0], "vae": ["vae", 0]}}
    size = {"upscale_method": "lanczos", "width": 96, "height": 64, "crop": "disabled"}
    prompt["frames"] = {"class_type": "ImageScale", "inputs": {"image": ["look", 0], **size}}
    del prompt["handoff"]["inputs"]["latent"]
    prompt["handoff"]["inputs"]["images"] = ["frames", 0]
    result = server.complete(with_saved_latents(prompt, a=["again", 0], b=["stage2", 0]))
    latents = server.saved_latents(result)
    assert latents["a"].shape == latents["b"].shape == (1, 16, 2, 8, 12)
    assert latents["a"].isfinite().all() and latents["b"].isfinite().all()


def test_patches_in_a_row_count_their_evaluations(server, prompt):
    """Skip Layer Guidance, ScaleROPE and EasyCache before Stage 1: the clip changes, and a step is still one tick."""
    before = server.saved_latents(server.complete(with_saved_latents(prompt, out=["stage1", 0])))["out"]
    layers = {"double_layers": "1", "single_layers": "", "scale": 3.0, "start_percent": 0.0, "end_percent": 1.0}
    with_node(prompt, "stage1", "SkipLayerGuidanceDiT", **layers, rescaling_scale=0.0)
    prompt["rope"] = {"class_type": "ScaleROPE", "inputs": {"model": ["patch", 0], **ROPE}}
    prompt["cache"] = {"class_type": "EasyCache", "inputs": {"model": ["rope", 0], **CACHE}}
    prompt["stage1"]["inputs"]["model"] = ["cache", 0]
    result = server.complete(with_saved_latents(prompt, out=["stage1", 0]))
    assert result.progress("stage1")[-1] == (4, 4)
    assert (server.saved_latents(result)["out"] - before).abs().max() > 0.1


def said(server, prompt: Prompt, node: str) -> str:
    """What is shown under a node while a prompt runs to its end."""
    texts = [base64.b64decode(m["data"]) for m in server.complete(prompt).previews() if m["kind"] == 3]
    return " ".join(text.decode() for text in texts if node.encode() in text)
