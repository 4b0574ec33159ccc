"""Stage 2 for ComfyUI's stochastic samplers, which add noise as in a flow that starts at pure noise.

Stage 2's state is x = sigma (a ref + b noise) + (1 - sigma) z with a^2 + b^2 = 1: at the same sigma it holds less noise
than theirs, and a share of the reference that they would let fade. Centered, w = (x - sigma a ref) / b is their state,
w = sigma noise + (1 - sigma) z / b: the same paths, and right wherever they add noise.
"""

import inspect
from dataclasses import dataclass
from typing import Any

import comfy.model_sampling
import comfy.samplers
from torch import Tensor

from ...flashvideo_core.errors import InputError
from .flow import FlowFromReference
from .types import Options, SamplerFunction, StepCallback

WITHOUT_NOISE = {"sample_res_multistep", "sample_res_multistep_cfg_pp"}  # take a noise_sampler and never call it
NO_FLOW = {"sample_ddpm", "sample_res_multistep_ancestral"}  # add noise to a state that they never scale down
UNFINISHED = {"dpm_fast_function": "dpm_fast", "dpm_adaptive_function": "dpm_adaptive"}  # end at the last sigma above 0


class NoiseFlow(comfy.model_sampling.ModelSamplingDiscreteFlow, comfy.model_sampling.CONST):
    """The flow that ComfyUI's samplers know."""


class Overlay:
    """An object with some of its attributes replaced."""

    def __init__(self, target: object, **replaced: object):
        self.__dict__.update(replaced, overlaid=target)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.overlaid, name)


@dataclass(frozen=True)
class Center:
    """The change of coordinates: reference [B, 16, T, H, W] is a ref, noise is b."""

    reference: Tensor
    noise: float

    def center(self, x: Tensor, sigma: Tensor) -> Tensor:
        return (x - comfy.model_sampling.reshape_sigma(sigma, x.ndim) * self.reference) / self.noise

    def uncenter(self, w: Tensor, sigma: Tensor) -> Tensor:
        return self.noise * w + comfy.model_sampling.reshape_sigma(sigma, w.ndim) * self.reference


class CenteredModel:
    """What a sampler calls, denoised = model(w, sigma), with the objects in which they look up its kind."""

    def __init__(self, model: comfy.samplers.KSamplerX0Inpaint, center: Center):
        guider, sampling = model.inner_model, NoiseFlow()
        sampling.set_parameters(shift=guider.inner_model.model_sampling.shift)
        patcher = Overlay(guider.model_patcher, get_model_object=lambda name: sampling)
        self.inner_model = Overlay(
            guider, inner_model=Overlay(guider.inner_model, model_sampling=sampling), model_patcher=patcher
        )
        self.model, self.center = model, center

    def __call__(self, w: Tensor, sigma: Tensor, **options: Any) -> Tensor:
        return self.model(self.center.uncenter(w, sigma), sigma, **options) / self.center.noise


def center_stochastic(sampler: comfy.samplers.Sampler) -> comfy.samplers.Sampler:
    """The sampler for stage 2: itself if it adds no noise, else its centered form. Raises InputError for no flow's."""
    function = getattr(sampler, "sampler_function", None)
    name = getattr(function, "__name__", "")
    if name in UNFINISHED:
        raise InputError(f"{UNFINISHED[name]} stops before stage 2 is done; use euler, as released")
    if function is None or "noise_sampler" not in inspect.signature(function).parameters:
        return sampler
    if name in WITHOUT_NOISE:
        return sampler
    if name in NO_FLOW or name.endswith("_cfg_pp"):
        raise InputError(
            f"the sampler {name.removeprefix('sample_')} adds noise in a way that does not suit the flow of stage 2; "
            "use euler, as released"
        )
    return comfy.samplers.KSAMPLER(sample_centered(function), sampler.extra_options, sampler.inpaint_options)


def sample_centered(function: SamplerFunction) -> SamplerFunction:
    """A function like one of ComfyUI's samplers, in centered coordinates inside."""

    def sample(
        model: comfy.samplers.KSamplerX0Inpaint,
        x: Tensor,
        sigmas: Tensor,
        extra_args: Options,
        callback: StepCallback,
        disable: bool,
        **options: Any,
    ) -> Tensor:
        flow: FlowFromReference = model.inner_model.inner_model.model_sampling
        center = Center(flow.sqrt_alpha * model.latent_image, (1 - flow.sqrt_alpha**2) ** 0.5)

        def uncentered_callback(step: Options) -> None:
            x = center.uncenter(step["x"], step["sigma"])
            callback({**step, "x": x, "denoised": center.noise * step["denoised"]})

        start, centered = center.center(x, sigmas[0]), CenteredModel(model, center)
        w = function(centered, start, sigmas, extra_args, uncentered_callback, disable, **options)
        return center.uncenter(w, sigmas[-1])

    return sample
