"""What travels over ComfyUI's sockets, and the callbacks of its samplers, for annotations."""

from collections.abc import Callable
from typing import Any, NotRequired, Protocol, TypedDict

import comfy.model_patcher
import comfy.samplers
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


class PromptNode(TypedDict):
    """A node of a prompt. An input is a value, or [id, slot]: the output of another node."""

    class_type: str
    inputs: dict[str, Any]


Prompt = dict[str, PromptNode]
"""A workflow in API form, by node id."""

Patch = Callable[..., Any]
"""What a node puts into transformer_options to be called inside the network; each kind has arguments of its own."""


class Latent(TypedDict):
    """LATENT: samples [B, 16, T, H, W] in VAE units, and where Set Latent Noise Mask has put one, the mask.

    Other nodes may put more beside them, and handed.py puts the draft.
    """

    samples: Tensor
    noise_mask: NotRequired[Tensor]


class ComfyAudio(TypedDict):
    """AUDIO: waveform [B, channels, N] in -1..1, at so many samples a second."""

    waveform: Tensor
    sample_rate: int


class SamplerCallback(Protocol):
    """What ComfyUI's samplers call after each evaluation, with the scaled latents of the model."""

    def __call__(self, step: int, denoised: Tensor, x: Tensor, total: int, /) -> None: ...


class StepCallback(Protocol):
    """What ComfyUI's sampler functions call after each evaluation: {"i", "x", "sigma", "denoised", ...}."""

    def __call__(self, step: Options, /) -> None: ...


class SamplerFunction(Protocol):
    """One of ComfyUI's sampler functions: from the state x at sigmas[0] to that at the last of sigmas."""

    __name__: str

    def __call__(
        self,
        model: comfy.samplers.KSamplerX0Inpaint,
        x: Tensor,
        sigmas: Tensor,
        extra_args: Options,
        callback: StepCallback,
        disable: bool,
        **options: Any,
    ) -> Tensor: ...
