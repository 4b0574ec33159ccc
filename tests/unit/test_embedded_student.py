"""The shipped student of the embedded stage 2: its file, and how it is run."""

from dataclasses import replace

from safetensors import safe_open

from flashvideo_core.checkpoint import load_transformer, open_weights
from flashvideo_core.components import TINY
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
