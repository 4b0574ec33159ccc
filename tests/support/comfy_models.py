"""A two-stage model of random weights, small enough to sample in moments, as files of ComfyUI's folders."""

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from support.comfyui import Prompt

from flashvideo_core.checkpoint import MODELS, make_metadata
from flashvideo_core.config import STAGE1, STAGE2, SamplingDefaults, TextConfig, VAEConfig

Link = list[str | int]
"""[node id, index of the output]."""

WORDS = ["a", "red", "blue", "green", "ball", "square", "moves", "left", "right", "up", "down", "on", "white"]
_SIZES = {"layers": 2, "hidden": 64, "time_dim": 32, "text_dim": 64, "text_length": 8}
FILES = {
    "diffusion_models/small1.safetensors": replace(
        STAGE1, defaults=SamplingDefaults(size=(32, 48), frames=5), **_SIZES
    ),
    "diffusion_models/small2.safetensors": replace(
        STAGE2, defaults=SamplingDefaults(size=(64, 96), frames=5, steps=4), **_SIZES
    ),
    "vae/small.safetensors": VAEConfig(channels=16, multipliers=(1, 2, 2, 4), blocks=1, groups=8),
    "text_encoders/small.safetensors": TextConfig(words=len(WORDS)),
}


def write_small_models(folder: Path) -> None:
    """Writes FILES under a ComfyUI models folder."""
    torch.manual_seed(0)
    for name, config in FILES.items():
        state = {key: _filled(key, value) for key, value in MODELS[type(config)](config).state_dict().items()}
        metadata = make_metadata(config) | ({"words": " ".join(WORDS)} if isinstance(config, TextConfig) else {})
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(state, path, metadata)


def _filled(key: str, value: torch.Tensor) -> torch.Tensor:
    """Initial zeros would hide what the text does."""
    return torch.randn_like(value) if key == "slots" else value


def two_stage_prompt() -> Prompt:
    """An API-form graph from a prompt to a saved clip; nodes by role, values of small models."""
    load = "FlashVideoModelLoader"
    return {
        "model1": {"class_type": load, "inputs": {"model_name": "small1.safetensors", "weight_dtype": "default"}},
        "model2": {"class_type": load, "inputs": {"model_name": "small2.safetensors", "weight_dtype": "default"}},
        "vae": {"class_type": "FlashVideoVAELoader", "inputs": {"vae_name": "small.safetensors"}},
        "clip": {"class_type": "FlashVideoTextEncoderLoader", "inputs": {"clip_name": "small.safetensors"}},
        "text": {
            "class_type": "FlashVideoTextEncode",
            "inputs": {
                "clip": ["clip", 0],
                "prompt": "a red ball moves left",
                "motion": "medium motion",
                "negative_prompt": "",
            },
        },
        "stage1": {
            "class_type": "FlashVideoStage1",
            "inputs": {
                "model": ["model1", 0],
                "positive": ["text", 0],
                "negative": ["text", 2],
                "seed": 1,
                "steps": 4,
                "cfg": 8.0,
                "guidance": "released",
                "preset": "custom",
                "width": 48,
                "height": 32,
                "frames": 5,
                "drafts": 1,
            },
        },
        "handoff": {
            "class_type": "FlashVideoHandoff",
            "inputs": {
                "vae": ["vae", 0],
                "latent": ["stage1", 0],
                "target": "custom",
                "width": 96,
                "height": 64,
            },
        },
        "stage2": {
            "class_type": "FlashVideoStage2",
            "inputs": {
                "model": ["model2", 0],
                "positive": ["text", 1],
                "negative": ["text", 2],
                "latent": ["handoff", 0],
                "seed": 1,
                "steps": 4,
                "cfg": 13.0,
                "shift": 2.5,
                "noise_step": 675,
            },
        },
        "decode": {
            "class_type": "FlashVideoDecode",
            "inputs": {"vae": ["vae", 0], "latent": ["stage2", 0], "tiling": "auto", "crop": "auto", "fps": 8.0},
        },
        "save": {
            "class_type": "SaveVideo",
            "inputs": {"video": ["decode", 1], "filename_prefix": "clip", "format": "auto", "codec": "auto"},
        },
    }


def with_saved_latents(prompt: Prompt, **links: Link) -> Prompt:
    """The prompt with a Save Latent node for each name=[node, output] instead of the saved clip."""
    out = {name: node for name, node in prompt.items() if name != "save"}
    for name, link in links.items():
        out[name] = {"class_type": "SaveLatent", "inputs": {"samples": link, "filename_prefix": name}}
    return out
