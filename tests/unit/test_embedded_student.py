"""The shipped student of the embedded stage 2: its file, how it is run, and that one pass does what eight do."""

from dataclasses import replace

from safetensors import safe_open

from flashvideo_core.checkpoint import load_transformer, open_weights
from flashvideo_core.components import TINY, load_pipeline
from flashvideo_core.phases import embed
from flashvideo_core.sampling import make_draw_noise, sample_stage2
from flashvideo_core.tiny.clips import FULL_SIZE, PATCH_SIZE, render_near_shape
from flashvideo_core.tiny.held_out import sample_held_out
from flashvideo_core.tiny.scores import downsample
from flashvideo_core.training.losses import measure_edges
from flashvideo_core.vae_passes import encode
from flashvideo_core.weights.reader import file_sha256

LORA = TINY / "lora.safetensors"


def test_the_file_is_small_and_says_what_it_is_for():
    with safe_open(LORA, "pt") as file:
        metadata, names = file.metadata(), list(file.keys())
        assert {file.get_slice(name).get_dtype() for name in names} == {"F16"}
    assert LORA.stat().st_size < 1_000_000 and all(name.startswith("diffusion_model.blocks.") for name in names)
    assert (metadata["stage"], metadata["evaluations"]) == ("2", "1")
    assert file_sha256(TINY / "stage2.safetensors") in metadata["base"]


def test_it_is_run_in_one_evaluation_without_guidance():
    path = TINY / "stage2.safetensors"
    ours, before = load_transformer(path, lora=LORA).config.defaults, open_weights(path).config.defaults
    assert ours == replace(before, steps=1, cfg=1.0)


def test_one_pass_has_the_edges_that_its_teacher_has_in_eight():
    """Patches around the shapes of held-out scenes, averaged down to drafts; edges as the loss measures them, over the
    whole clip. The same weights in one evaluation lose three times as much."""
    pipe = load_pipeline(device="cpu")
    student, defaults = load_transformer(TINY / "stage2.safetensors", lora=LORA), pipe.stage2.config.defaults
    runs = {"teacher": (pipe.stage2, 4, 4.0), "plain": (pipe.stage2, 1, 1.0), "student": (student, 1, 1.0)}
    path = {"shift": defaults.shift, "ref_step": defaults.ref_step}
    edges, passes = dict.fromkeys(runs, 0.0), dict.fromkeys(runs, 0)
    for number, prompt in enumerate(sample_held_out(2, seed=5)):
        original = (render_near_shape(prompt.scene, FULL_SIZE, PATCH_SIZE).permute(1, 2, 3, 0) + 1) / 2
        z_ref = encode(pipe, downsample(original, (32, 48)), PATCH_SIZE)
        txt, noise = embed(pipe, prompt.prompt, None, 2)[0], make_draw_noise(number)(z_ref)
        for name, (dit, steps, cfg) in runs.items():

            def count(module, args, name=name):
                passes[name] += len(args[0])

            hook = dit.register_forward_pre_hook(count)
            z = sample_stage2(dit, z_ref, txt, noise=noise, steps=steps, cfg=cfg, **path)
            hook.remove()
            edges[name] += float(measure_edges(z).mean())
    assert passes == {"teacher": 16, "plain": 2, "student": 2}
    lost = {name: 1 - value / edges["teacher"] for name, value in edges.items()}
    assert lost["student"] < 0.02 and lost["plain"] > 3 * lost["student"]
