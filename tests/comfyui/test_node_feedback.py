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


def test_previews_of_a_clip_move(server, prompt):
    """Every evaluation sends the latent's frames beside the still picture; nothing without previews."""
    prompt["stage1"]["inputs"] |= {"seed": 600, "frames": 9}
    result = server.complete(prompt, extra_data={"preview_method": "latent2rgb"})
    sent = [message["data"] for message in result.messages if message["type"] == "flashvideo_preview"]
    assert [data["node"] for data in sent] == ["stage1"] * 4 + ["stage2"] * 4
    for data in sent:
        assert data["prompt_id"] == result.prompt_id
        frames = [Image.open(io.BytesIO(base64.b64decode(frame))) for frame in data["frames"]]
        assert [(frame.format, frame.size) for frame in frames] == [("JPEG", (512, 341))] * 3
    prompt["stage1"]["inputs"]["seed"] = 601
    result = server.complete(prompt)
    assert not any(message["type"] == "flashvideo_preview" for message in result.messages)


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


def remarks(result) -> list[tuple[str, str]]:
    """(node, text) of what was said under a node: a message of kind 3 has the length of the node's id before it."""
    data = [base64.b64decode(message["data"]) for message in result.previews() if message["kind"] == 3]
    lengths = [int.from_bytes(text[:4], "big") for text in data]
    return [(text[4 : 4 + n].decode(), text[4 + n :].decode()) for text, n in zip(data, lengths, strict=True)]


@pytest.mark.parametrize(
    ("image", "target", "said"),
    [
        ((48, 32, 7), (100, 70), "100x70 is floored to 96x64 (multiples of 16); 7 frames are trimmed to 5 (4n+1)"),
        ((32, 32, 5), (96, 64), "32x32 is stretched to 96x64; width 80 and height 80 would keep its proportions"),
        ((120, 70, 5), "4x the draft", "480x280 is floored to 480x272 (multiples of 16)"),
        ((24, 16, 5), "4x the draft", None),
    ],
)
def test_what_the_handoff_changes_is_said_under_the_node(server, prompt, image, target, said):
    values = dict(zip(("width", "height", "batch_size"), image, strict=True))
    prompt["frames"] = {"class_type": "EmptyImage", "inputs": {**values, "color": 0}}
    del prompt["handoff"]["inputs"]["latent"]
    sizes = {"target": target} if isinstance(target, str) else {"width": target[0], "height": target[1]}
    prompt["handoff"]["inputs"] |= {"images": ["frames", 0], **sizes}
    result = server.complete(with_saved_latents(prompt, a=["handoff", 0]))
    assert remarks(result) == ([("handoff", said)] if said else [])


def test_a_size_that_stage_1_floors_and_words_that_are_ignored_are_said_under_the_node(server, prompt):
    prompt["stage1"]["inputs"]["width"] = 33
    prompt["text"]["inputs"] |= {"prompt": "a purple ball", "negative_prompt": "a striped zebra"}
    result = server.complete(with_saved_latents(prompt, a=["stage1", 0]))
    ignores = "the tiny model's text encoder ignores"
    assert remarks(result) == [
        ("text", f"{ignores}: purple; {ignores}: striped, zebra"),
        ("stage1", "33x32 is floored to 32x32 (multiples of 16)"),
    ]


def test_a_latent_of_a_picture_is_refused_in_one_sentence(server, prompt):
    empty = {"width": 64, "height": 64, "batch_size": 1}
    prompt["picture"] = {"class_type": "EmptyLatentImage", "inputs": empty}
    prompt["handoff"]["inputs"]["latent"] = ["picture", 0]
    result = server.run(prompt)
    assert result.error_node == "handoff"
    assert result.error.strip() == "the latent has the shape [1, 4, 8, 8]; a video latent [B, 16, T, H, W] is needed"


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
