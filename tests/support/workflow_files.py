"""The shipped workflows as the tests read them: UI form, API form, and the API form on the embedded model."""

import copy
import json
from typing import Any

from support.comfyui import PACK, Prompt, Workflow

WORKFLOWS = PACK / "workflows"
NAMES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))


def load_workflow(name: str) -> Workflow:
    """The UI form of a shipped workflow."""
    return json.loads((WORKFLOWS / f"{name}.json").read_text())


def load_prompt(name: str) -> Prompt:
    """The API form of a shipped workflow."""
    return json.loads((WORKFLOWS / "api" / f"{name}.json").read_text())


def inputs_of(prompt: Prompt, class_type: str) -> dict[str, Any]:
    """The inputs of the only node of a class."""
    (node,) = [node for node in prompt.values() if node["class_type"] == class_type]
    return node["inputs"]


def on_tiny(prompt: Prompt) -> Prompt:
    """The same graph with the embedded tiny model and small, short clips."""
    prompt = copy.deepcopy(prompt)
    for node in prompt.values():
        inputs = node["inputs"]
        if node["class_type"] == "FlashVideoModelLoader":
            inputs["model_name"] = f"tiny stage {1 if '1' in inputs['model_name'] else 2} (embedded)"
        elif node["class_type"] == "FlashVideoVAELoader":
            inputs["vae_name"] = "tiny (embedded)"
        elif node["class_type"] == "CLIPLoader":
            node.update(class_type="FlashVideoTextEncoderLoader", inputs={"clip_name": "tiny (embedded)"})
        elif node["class_type"] == "FlashVideoStage1":
            inputs.update(preset="custom", width=48, height=32, frames=5, steps=2)
        elif node["class_type"] == "FlashVideoHandoff":
            inputs.update(target="custom", width=96, height=64)
        elif node["class_type"] == "FlashVideoRefineVideo":
            inputs.update(width=96, height=64)
    return prompt
