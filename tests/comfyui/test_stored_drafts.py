"""Stage 1's drafts are not sampled twice: in one server, and in the next one, whose review shows them."""

import shutil

import pytest
import torch
from support.comfy_models import two_stage_prompt
from support.comfy_server import ComfyServer, Result
from support.comfyui import Prompt
from test_node_feedback import remarks

pytestmark = pytest.mark.comfyui

STORED = "output/FlashVideo/stored"


def graph(drafts: int, **inputs: object) -> Prompt:
    """Stored drafts, decoded and reviewed, and saved as one latent."""
    out = {name: two_stage_prompt()[name] for name in ("model1", "vae", "clip", "text", "stage1", "decode")}
    out["stage1"]["inputs"] |= {"drafts": drafts, "seed": 4000, "store": True, **inputs}
    out["decode"]["inputs"]["latent"] = ["stage1", 0]
    review = {"latent": ["stage1", 0], "images": ["decode", 0], "decision": "review", "choice": 0}
    out["review"] = {"class_type": "FlashVideoReview", "inputs": review}
    out["save"] = {"class_type": "SaveLatent", "inputs": {"samples": ["stage1", 0], "filename_prefix": "stored"}}
    return out


def evaluations(result: Result) -> float:
    """How many Stage 1 made; without any it has the progress of every node, 0 or 1 of 1."""
    return max((value for value, total in result.progress("stage1") if total > 1), default=0)


def test_drafts_are_read_instead_of_sampled_also_after_a_restart(server, tmp_path):
    plain = server.complete(graph(2, store=False))
    server.forget()
    first = server.complete(graph(2))
    assert evaluations(plain) == evaluations(first) == 8  # two drafts of four steps
    assert remarks(first) == [("stage1", f"0 of 2 drafts read from {STORED}, 2 stored there")]
    server.forget()
    third = server.complete(graph(3))
    assert evaluations(third) == 4
    assert remarks(third) == [("stage1", f"2 of 3 drafts read from {STORED}, 1 stored there")]
    latents = [server.saved_latents(result)["save"] for result in (plain, first, third)]
    assert torch.equal(latents[0], latents[1]) and torch.equal(latents[2][:2], latents[0])

    for folder in ("models", STORED):
        shutil.copytree(server.base / folder, tmp_path / folder)
    with ComfyServer(base=tmp_path) as restarted:
        again = restarted.complete(graph(2))
        assert evaluations(again) == 0
        assert remarks(again) == [("stage1", f"2 of 2 drafts read from {STORED}")]
        assert torch.equal(restarted.saved_latents(again)["save"], latents[0])
        assert again.outputs["review"] == first.outputs["review"]
        other = restarted.complete(graph(2, cfg=7.0))
        assert evaluations(other) == 8


def test_what_cannot_be_hashed_is_said_and_nothing_is_stored(server):
    prompt = graph(1, seed=5000, model=["rescaled", 0])
    prompt["rescaled"] = {"class_type": "RescaleCFG", "inputs": {"model": ["model1", 0], "multiplier": 0.7}}
    folder = server.base / STORED
    before = set(folder.glob("*"))
    for _ in range(2):
        result = server.complete(prompt)
        ((node, text),) = remarks(result)
        assert node == "stage1" and text.startswith("nothing is stored or read: what ")
        assert "rescale" in text.lower() and evaluations(result) == 4
        server.forget()
    assert set(folder.glob("*")) == before
