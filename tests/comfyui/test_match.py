"""FlashVideo Decode with a draft: what it says of the drift, and what a matched clip takes back."""

import numpy as np
import pytest
from PIL import Image
from support.comfy_models import two_stage_prompt
from support.comfy_server import ComfyServer, Result
from support.comfyui import Prompt
from test_node_feedback import remarks

pytestmark = pytest.mark.comfyui


@pytest.fixture
def matched() -> Prompt:
    """A refined clip beside its draft, both as pictures."""
    prompt = two_stage_prompt()
    del prompt["save"]
    decode = {"class_type": "FlashVideoDecode", "inputs": {**prompt["decode"]["inputs"], "latent": ["stage1", 0]}}
    prompt |= {"look": decode}
    for name in ("look", "decode"):
        inputs = {"images": [name, 0], "filename_prefix": f"match-{name}"}
        prompt[f"save {name}"] = {"class_type": "SaveImage", "inputs": inputs}
    return prompt


def mean_colors(server: ComfyServer, result: Result, name: str) -> np.ndarray:
    """[F, 3] in levels."""
    files = [
        server.base / "output" / at["subfolder"] / at["filename"] for at in result.outputs[f"save {name}"]["images"]
    ]
    return np.stack([np.asarray(Image.open(file).convert("RGB"), float).mean((0, 1)) for file in files])


def test_the_drift_is_said_and_colours_are_taken_back(server, matched):
    plain = server.complete(matched)
    ((node, text),) = remarks(plain)
    assert node == "decode" and text.startswith("away from the draft by ")
    assert "match takes its colours back" in text  # random weights drift far
    away = np.abs(mean_colors(server, plain, "decode") - mean_colors(server, plain, "look"))
    assert float(text.split("draft by ")[1].split()[0]) == pytest.approx(away.max(1).mean(), abs=0.6)
    matched["decode"]["inputs"]["draft"] = ["look", 0]
    assert remarks(server.complete(matched)) == [(node, text)]
    matched["decode"]["inputs"]["match"] = "color"
    repaired = server.complete(matched)
    left = np.abs(mean_colors(server, repaired, "decode") - mean_colors(server, repaired, "look"))
    assert left[0].max() < 1.5 < away[0].max()


def test_a_draft_that_is_missing_or_another_clips_is_refused(server, matched):
    one = {"image": ["look", 0], "batch_index": 0, "length": 3}
    matched["one"] = {"class_type": "ImageFromBatch", "inputs": one}
    matched["decode"]["inputs"]["draft"] = ["one", 0]
    result = server.run(matched)
    assert result.error_node == "decode"
    assert "the draft has 3 frames; the latent is 1 x 5 frames" in result.error
    matched["look"]["inputs"]["match"] = "color"  # of a draft, which has none
    result = server.run(matched)
    assert result.error_node == "look"
    assert "match is color, so connect the draft, or the clip that was refined" in result.error
