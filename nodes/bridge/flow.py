"""Both stages' model_sampling: stage 1's table of v-prediction, stage 2's flow that starts at the noised reference."""

from typing import NoReturn

import comfy.model_sampling
import comfy.supported_models_base
import torch
from torch import Tensor

from ...flashvideo_core.errors import InputError
from ...flashvideo_core.schedule import add_noise, check_noise_step, zero_snr_sqrt_alphas


class NoFlowError(InputError, AttributeError):
    """A node treats stage 1 as a flow; hasattr and getattr with a default see a missing attribute as ever."""


class VelocityTable(comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.V_PREDICTION):
    """v-prediction on the 1000-entry table with zero terminal SNR; ComfyUI's own, which says what it lacks."""

    def __getattr__(self, name: str) -> object:
        if name in ("shift", "set_parameters", "set_noise_scale"):  # asked for by ModelNoiseScale
            raise NoFlowError("stage 1 has a noise schedule of its own, no shift and no noise scale; remove that node")
        return super().__getattr__(name)


class FlowFromReference(comfy.model_sampling.ModelSamplingDiscreteFlow, comfy.model_sampling.CONST):
    """The path sigma * start + (1 - sigma) * latent, where start mixes the reference with noise at ref_step.

    ComfyUI's sigma is 1 - t. At sigma 1 that is the released start, in between what masks and partial denoising need;
    the noise-free inverse lets a sampling be split and continued. Built as ComfyUI's nodes build one, from the model's
    config, whose defaults it takes.
    """

    def __init__(self, model_config: comfy.supported_models_base.BASE):
        torch.nn.Module.__init__(self)  # not the flow's own, which sets a noise scale
        defaults = model_config.unet_config["config"].defaults
        self.noise_scale = 1.0
        self.set_parameters(shift=defaults.shift)
        self.set_ref_step(defaults.ref_step)

    def set_ref_step(self, ref_step: int) -> None:
        """Raises InputError for a ref_step outside 0..999."""
        check_noise_step(ref_step)
        self.ref_step = ref_step
        self.sqrt_alpha = float(zero_snr_sqrt_alphas()[ref_step])

    def set_noise_scale(self, noise_scale: float) -> NoReturn:
        raise InputError(
            "stage 2 has no noise scale: how much noise its reference gets is the noise step of FlashVideo Stage 2 "
            "(or Stage 2 Flow); remove ModelNoiseScale"
        )

    def noise_scaling(self, sigma: Tensor, noise: Tensor, latent_image: Tensor, max_denoise: bool = False) -> Tensor:
        sigma = comfy.model_sampling.reshape_sigma(sigma, noise.ndim)
        return sigma * add_noise(latent_image, noise, self.sqrt_alpha) + (1 - sigma) * latent_image

    def inverse_noise_scaling(self, sigma: Tensor, latent: Tensor) -> Tensor:
        sigma = comfy.model_sampling.reshape_sigma(sigma, latent.ndim)
        return latent / (1 - sigma * (1 - self.sqrt_alpha))
