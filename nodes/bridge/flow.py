"""Stage 2's model_sampling: ComfyUI's sigma = 1 - t, and a start state that is the noised reference."""

import comfy.model_sampling
from torch import Tensor

from ...flashvideo_core.schedule import add_noise, check_noise_step, zero_snr_sqrt_alphas


class FlowFromReference(comfy.model_sampling.ModelSamplingDiscreteFlow, comfy.model_sampling.CONST):
    """The path sigma * start + (1 - sigma) * latent, where start mixes the reference with noise at ref_step.

    At sigma 1 that is the released start, in between what masks and partial denoising need; the noise-free
    inverse lets a sampling be split and continued. Raises InputError for a ref_step outside 0..999.
    """

    def __init__(self, shift: float, ref_step: int):
        super().__init__()
        check_noise_step(ref_step)
        self.set_parameters(shift=shift)
        self.ref_step = ref_step
        self.sqrt_alpha = float(zero_snr_sqrt_alphas()[ref_step])

    def noise_scaling(self, sigma: Tensor, noise: Tensor, latent_image: Tensor, max_denoise: bool = False) -> Tensor:
        sigma = comfy.model_sampling.reshape_sigma(sigma, noise.ndim)
        return sigma * add_noise(latent_image, noise, self.sqrt_alpha) + (1 - sigma) * latent_image

    def inverse_noise_scaling(self, sigma: Tensor, latent: Tensor) -> Tensor:
        sigma = comfy.model_sampling.reshape_sigma(sigma, latent.ndim)
        return latent / (1 - sigma * (1 - self.sqrt_alpha))
