"""The review node in a real server, without a browser: what it holds back, what approving runs, what it shows."""

import json
from pathlib import Path

import av
import pytest
import torch
from support.comfy_models import two_stage_prompt
from support.comfyui import Prompt

pytestmark = pytest.mark.comfyui

BEHIND = {"handoff", "stage2", "decode", "save"}


def graph(seed: int, decision: str = "review", choice: int = 0) -> Prompt:
    """Two drafts, decoded and reviewed; the drafts and the chosen one are also saved as latents."""
    out = two_stage_prompt()
    out["stage1"]["inputs"].update(drafts=2, steps=2, seed=seed)
    out["look"] = {"class_type": "FlashVideoDecode", "inputs": {**out["decode"]["inputs"], "latent": ["stage1", 0]}}
    inputs = {"latent": ["stage1", 0], "images": ["look", 0], "decision": decision, "choice": choice}
    out["review"] = {"class_type": "FlashVideoReview", "inputs": inputs}
    out["handoff"]["inputs"]["latent"] = ["review", 0]
    for name, source in (("drafts", "stage1"), ("chosen", "review")):
        out[name] = {"class_type": "SaveLatent", "inputs": {"samples": [source, 0], "filename_prefix": name}}
    return out


def previews(server, result) -> list[Path]:
    return [server.base / "temp" / entry["filename"] for entry in result.outputs["review"]["drafts"]]


def test_holds_back_in_silence(server):
    held = server.run(graph(10))
    assert held.error is None
    assert not {"save", "chosen"} & set(held.outputs)
    assert {"drafts", "review"} <= set(held.outputs)
    again = server.run(graph(10))
    assert again.error is None
    assert not set(again.executed) - BEHIND - {"chosen"}  # everything before is cached


def test_partial_run_loads_nothing_of_stage_2(server):
    result = server.run(graph(20), targets=["review"])
    assert set(result.executed) <= {"model1", "vae", "clip", "text", "stage1", "look", "review"}
    assert "review" in result.outputs


@pytest.mark.parametrize("choice", [0, 1])
def test_approving_runs_only_what_is_left(server, choice):
    held = server.run(graph(30))
    done = server.run(graph(30, "approve", choice))
    assert done.error is None
    assert set(done.executed) - {"model2"} == BEHIND | {"review", "chosen"}
    saved = server.saved_latents(held) | server.saved_latents(done)
    assert torch.equal(saved["chosen"], saved["drafts"][choice : choice + 1])
    assert previews(server, done) == previews(server, held)


def test_a_choice_that_is_not_there(server):
    result = server.run(graph(30, "approve", 2))
    assert result.error_node == "review"
    assert "choice is 2, but the drafts are 0 to 1" in result.error


def test_images_of_something_else(server):
    prompt = graph(30)
    prompt["one"] = {"class_type": "ImageFromBatch", "inputs": {"image": ["look", 0], "batch_index": 0, "length": 3}}
    prompt["review"]["inputs"]["images"] = ["one", 0]
    result = server.run(prompt)
    assert result.error_node == "review"
    assert "3 images do not belong to this latent of 2 drafts with 5 frames each" in result.error


def test_shows_one_playable_video_for_each_draft_with_its_workflow(server):
    prompt = graph(30)
    result = server.run(prompt, extra_data={"extra_pnginfo": {"workflow": {"nodes": []}}})
    first, second = previews(server, result)
    assert first != second
    for path in (first, second):
        with av.open(path) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 48, 32)
            assert stream.average_rate == 8
            assert sum(1 for _ in container.decode(stream)) == 5
            assert json.loads(container.metadata["prompt"])["stage1"]["inputs"]["seed"] == 30
    assert not list((server.base / "temp").glob("partial_*"))
