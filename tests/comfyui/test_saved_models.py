"""What ComfyUI's save nodes wrote in a server is chosen in our loaders and gives the same latents."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support.comfy_models import two_stage_prompt, with_saved_latents
from support.comfyui import Prompt

pytestmark = pytest.mark.comfyui

SAVES = {
    "diffusion_models/one.safetensors": ("ModelSave", {"model": ["model1", 0]}),
    "diffusion_models/two.safetensors": ("ModelSave", {"model": ["model2", 0]}),
    "vae/one.safetensors": ("VAESave", {"vae": ["vae", 0]}),
    "text_encoders/one.safetensors": ("CLIPSave", {"clip": ["clip", 0]}),
    "diffusion_models/all.safetensors": (
        "CheckpointSave",
        {"model": ["model2", 0], "clip": ["clip", 0], "vae": ["vae", 0]},
    ),
}


def load_from(prompt: Prompt, **names: str) -> Prompt:
    """The prompt with other files in its loaders: role=file name."""
    inputs = {"model1": "model_name", "model2": "model_name", "vae": "vae_name", "clip": "clip_name"}
    for role, name in names.items():
        prompt[role]["inputs"][inputs[role]] = name
    return prompt


@pytest.fixture
def models(server) -> Iterator[Path]:
    """The server's folder of models, which is left as it was found."""
    folder = server.base / "models"
    before = set(folder.rglob("*"))
    yield folder
    for path in set(folder.rglob("*")) - before:
        path.unlink()


def test_saved_models_give_the_same_clip(server, models):
    prompt = with_saved_latents(two_stage_prompt(), drafts=["stage1", 0], refined=["stage2", 0])
    for name, (node, inputs) in SAVES.items():
        prompt[name] = {"class_type": node, "inputs": {**inputs, "filename_prefix": f"saved/{name}"}}
    wanted = server.saved_latents(server.complete(prompt))
    for name in SAVES:
        (path,) = (server.base / "output" / "saved").glob(f"{name}_*")
        path.rename(models / name)
    for folder in ("vae", "text_encoders"):
        (models / folder / "all.safetensors").symlink_to(models / "diffusion_models" / "all.safetensors")
    files = {"model1": "one.safetensors", "model2": "two.safetensors"}
    for other in (
        files | {"vae": "one.safetensors", "clip": "one.safetensors"},
        files | {"model2": "all.safetensors", "vae": "all.safetensors", "clip": "all.safetensors"},
    ):
        prompt = with_saved_latents(two_stage_prompt(), drafts=["stage1", 0], refined=["stage2", 0])
        found = server.saved_latents(server.complete(load_from(prompt, **other)))
        assert found.keys() == wanted.keys()
        for name, latent in wanted.items():
            assert torch.equal(found[name], latent), name
