"""What travels over ComfyUI's sockets, and the callbacks of its samplers, for annotations."""

from typing import Any, Protocol, TypedDict

import comfy.model_patcher
import comfy.sd
from torch import Tensor

Model = comfy.model_patcher.ModelPatcher
"""MODEL."""

CLIP = comfy.sd.CLIP
"""CLIP."""

VAE = comfy.sd.VAE
"""VAE."""

Conditioning = list[list[Tensor | dict[str, Any]]]
"""CONDITIONING: [[text embeddings [B, L, text_dim], options], ...]."""


Options = dict[str, Any]
"""ComfyUI's options of a model or a run, which any of its nodes and packs may fill."""


class Latent(TypedDict):
    """LATENT: samples [B, 16, T, H, W] in VAE units. ComfyUI's own nodes may put masks and the like beside it."""

    samples: Tensor


class SamplerCallback(Protocol):
    """What ComfyUI's samplers call after each evaluation, with the scaled latents of the model."""

    def __call__(self, step: int, denoised: Tensor, x: Tensor, total: int, /) -> None: ...
