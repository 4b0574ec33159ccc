"""The shipped student of the embedded stage 2, on a scene that nobody has learnt: one pass does what eight do."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from flashvideo_core.checkpoint import load_transformer, open_weights
from flashvideo_core.components import TINY, Pipeline, load_pipeline
from flashvideo_core.phases import embed
from flashvideo_core.sampling import make_draw_noise, sample_stage2
from flashvideo_core.tiny.clips import FULL_SIZE, PATCH_SIZE, render_near_shape
from flashvideo_core.tiny.detectors import detect
from flashvideo_core.tiny.held_out import sample_held_out
from flashvideo_core.tiny.quality import measure_sharpness
from flashvideo_core.tiny.scores import downsample
from flashvideo_core.vae_passes import decode, encode
from flashvideo_core.weights.reader import file_sha256

LORA = TINY / "lora.safetensors"
SHARP = 0.98  # of the teacher's


@pytest.fixture(scope="module")
def pipe() -> Pipeline:
    return load_pipeline(device="cpu")


def test_the_file_is_small_and_says_what_it_is_for():
    with safe_open(LORA, "pt") as file:
        metadata, names = file.metadata(), list(file.keys())
        assert {file.get_slice(name).get_dtype() for name in names} == {"F16"}
    assert LORA.stat().st_size < 1_000_000 and all(name.startswith("diffusion_model.blocks.") for name in names)
    assert (metadata["stage"], metadata["evaluations"]) == ("2", "1")
    assert file_sha256(TINY / "stage2.safetensors") in metadata["base"]


def test_it_is_run_in_one_evaluation_without_guidance(tmp_path: Path):
    ours, before = (
        load_transformer(TINY / "stage2.safetensors", lora=LORA).config,
        open_weights(TINY / "stage2.safetensors").config,
    )
    assert (ours.defaults.steps, ours.defaults.cfg) == (1, 1.0) and ours.defaults.ref_step == before.defaults.ref_step


@pytest.mark.parametrize("number", [0, 1])
def test_one_pass_is_as_sharp_as_its_teachers_eight(pipe, number):
    """A patch around the shape, averaged down to a draft, and the first 9 frames of what is made of it."""
    prompt = sample_held_out(2, seed=5)[number]
    original = (render_near_shape(prompt.scene, FULL_SIZE, PATCH_SIZE).permute(1, 2, 3, 0) + 1) / 2
    z_ref = encode(pipe, downsample(original, (32, 48)), PATCH_SIZE)
    txt, noise = embed(pipe, prompt.prompt, None, 2)[0], make_draw_noise(number)(z_ref)
    student = load_transformer(TINY / "stage2.safetensors", lora=LORA)
    passes, clips = [], []
    for dit, steps, cfg in ((pipe.stage2, 4, 4.0), (student, 1, 1.0)):
        passes.append(0)
        hook = dit.register_forward_pre_hook(lambda module, args: passes.append(passes.pop() + len(args[0])))
        z = sample_stage2(dit, z_ref, txt, noise=noise, steps=steps, cfg=cfg, ref_step=30)
        hook.remove()
        clips.append(decode(pipe, z[:, :, :3], "decode"))
    assert passes == [8, 1]
    teacher, ours = map(detect, clips)
    assert (ours.color, ours.shape) == (teacher.color, teacher.shape)
    assert measure_sharpness(clips[1]) >= SHARP * measure_sharpness(clips[0])
    assert torch.nn.functional.mse_loss(*clips) < 0.002
