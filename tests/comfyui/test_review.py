"""The review node in a real server, without a browser: what it holds back, what approving runs, what it shows."""

import json
import shutil
from pathlib import Path

import av
import pytest
import torch
from safetensors import safe_open
from support.comfy_models import two_stage_prompt
from support.comfyui import Prompt

from flashvideo_core.media.draft_file import load_draft

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


def previews(server, result, kind: str = "drafts") -> list[Path]:
    entries = result.outputs["review"][kind]
    assert all(entry["type"] == "output" for entry in entries)
    return [server.base / "output" / entry["subfolder"] / entry["filename"] for entry in entries]


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
    assert not list(first.parent.glob(".*"))  # no temporary is left


def test_the_saved_latent_goes_on_as_the_approved_draft(server):
    """What the panel queues: Load Latent of the saved draft in the place of the review, and nothing before it."""
    held = server.run(graph(40))
    approved = server.run(graph(40, "approve", 1))
    first, second = previews(server, held, "draft_latents")
    server.forget()
    prompt = graph(40)
    name = f"FlashVideo/drafts/{second.name} [output]"
    prompt["review"] = {"class_type": "LoadLatent", "inputs": {"latent": name}}
    del prompt["drafts"]
    loaded = server.complete(prompt)
    assert not {"stage1", "look", "model1"} & set(loaded.executed)
    chosen = [server.saved_latents(run)["chosen"] for run in (approved, loaded)]
    assert torch.equal(*chosen)
    drafts = server.saved_latents(held)["drafts"]
    assert torch.equal(load_draft(first)[0], drafts[:1]) and torch.equal(load_draft(second)[0], drafts[1:])
    assert "save" in loaded.outputs


def test_a_saved_latent_carries_its_workflow_and_is_written_once(server):
    result = server.run(graph(50), extra_data={"extra_pnginfo": {"workflow": {"nodes": []}}})
    (first, _) = previews(server, result, "draft_latents")
    written = first.stat().st_mtime_ns
    with safe_open(first, "pt") as file:
        assert json.loads(file.metadata()["prompt"])["stage1"]["inputs"]["seed"] == 50
        assert json.loads(file.metadata()["workflow"]) == {"nodes": []}
    server.forget()
    again = server.run(graph(50))
    assert previews(server, again) == previews(server, result)
    assert first.stat().st_mtime_ns == written


def test_a_folder_that_cannot_be_written_is_said_in_words(server):
    folder = server.base / "output" / "FlashVideo"
    shutil.rmtree(folder, ignore_errors=True)
    folder.write_text("a file where the folder belongs")
    try:
        result = server.run(graph(60))
    finally:
        folder.unlink()
    assert result.error_node == "review"
    assert "the drafts cannot be saved in" in result.error
