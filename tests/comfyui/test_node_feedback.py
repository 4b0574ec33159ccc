"""What a user sees of a run in a real ComfyUI: progress, previews, an interrupt, remarks and errors at their node."""

import base64
import copy
import io
import time
from typing import Any

import pytest
from PIL import Image
from support.comfy_models import with_saved_latents

pytestmark = pytest.mark.comfyui


def test_progress_counts_evaluations_and_previews_are_pictures(server, prompt):
    prompt["stage1"]["inputs"] |= {"seed": 500, "drafts": 2}
    result = server.complete(prompt, extra_data={"preview_method": "latent2rgb"})
    assert result.progress("stage1")[-1] == result.progress("stage2")[-1] == (8, 8)  # two drafts, four steps each
    assert result.progress("handoff")[-1] == (400, 400)
    pictures = [picture(message) for message in result.previews()]
    sizes = [image.size for image in pictures if image]
    assert len(sizes) >= 8 + 8
    assert set(sizes) == {(512, 341)}  # the server enlarges 6x4 and 12x8 latents alike


def picture(message: dict[str, Any]) -> Image.Image | None:
    """The picture of a preview message: kind 1 has a four-byte type before it, kind 4 metadata."""
    data = base64.b64decode(message["data"])
    if message["kind"] not in (1, 4):
        return None
    start = 4 if message["kind"] == 1 else 4 + int.from_bytes(data[:4], "big")
    return Image.open(io.BytesIO(data[start:]))


def test_interrupt_stops_and_the_next_run_works(server, prompt):
    long = copy.deepcopy(prompt)
    long["stage1"]["inputs"] |= {"steps": 999, "width": 192, "height": 128, "frames": 17, "seed": 900}
    start = len(server.messages)
    prompt_id = server.submit(long)

    def sampling(message):
        return message["type"] == "progress" and message["data"]["node"] == "stage1" and message["data"]["value"] >= 1

    server.wait_for(sampling, start)
    asked = time.monotonic()
    server.post("/interrupt", {})
    result = server.wait(prompt_id, start)
    assert result.error == "interrupted"
    assert result.error_node == "stage1"
    assert time.monotonic() - asked < 10
    prompt["stage1"]["inputs"]["seed"] = 901
    server.complete(prompt)


@pytest.mark.parametrize(
    ("node", "inputs", "text"),
    [
        ("stage1", {"model": ["model2", 0]}, "stage-2 model; connect the stage-1 model here"),
        ("stage2", {"model": ["model1", 0]}, "stage-1 model; connect the stage-2 model here"),
        ("stage1", {"frames": 6}, "frames is 6; it must be 4n+1"),
        ("text", {"prompt": "  "}, "the prompt is empty"),
        ("handoff", {"latent": None}, "either a latent or images"),
    ],
)
def test_bad_input_is_one_sentence_at_its_node(server, prompt, node, inputs, text):
    prompt[node]["inputs"] = {k: v for k, v in (prompt[node]["inputs"] | inputs).items() if v is not None}
    result = server.run(prompt)
    assert result.error_node == node
    assert text in result.error
    assert len(result.error.strip().splitlines()) == 1


def test_what_the_handoff_changes_is_said_under_the_node(server, prompt):
    prompt["frames"] = {"class_type": "EmptyImage", "inputs": {"width": 48, "height": 32, "batch_size": 7, "color": 0}}
    del prompt["handoff"]["inputs"]["latent"]
    prompt["handoff"]["inputs"] |= {"images": ["frames", 0], "width": 100, "height": 70}
    result = server.complete(with_saved_latents(prompt, a=["handoff", 0]))
    assert server.saved_latents(result)["a"].shape == (1, 16, 2, 8, 12)
    texts = [base64.b64decode(m["data"]) for m in result.previews() if m["kind"] == 3]
    wanted = b"100x70 is floored to 96x64 (multiples of 16); 7 frames are trimmed to 5 (4n+1)"
    assert any(b"handoff" in text and wanted in text for text in texts), texts


@pytest.mark.parametrize(
    ("node", "inputs"),
    [("stage1", {"steps": 1}), ("stage2", {"noise_step": 1000}), ("model1", {"model_name": "../x"})],
)
def test_impossible_values_are_refused_before_the_run(server, prompt, node, inputs):
    prompt[node]["inputs"] |= inputs
    with pytest.raises(ValueError, match=next(iter(inputs))):
        server.submit(prompt)


@pytest.fixture
def wrong_file(server):
    """A VAE among the models."""
    path = server.base / "models" / "diffusion_models" / "wrong.safetensors"
    path.write_bytes((server.base / "models" / "vae" / "small.safetensors").read_bytes())
    yield path.name
    path.unlink()


def test_other_files_are_refused_with_their_place(server, prompt, wrong_file):
    prompt["model1"]["inputs"]["model_name"] = wrong_file
    result = server.run(prompt)
    assert result.error_node == "model1" and "not a FlashVideo stage" in result.error
