"""Both stages as ComfyUI's SAMPLER, SIGMAS and GUIDER, and the two runs that the stage nodes make of them.

The loop of stage 1 is the core's; the loop of stage 2 is ComfyUI's own Euler.
"""

import functools
from collections.abc import Callable

import comfy.model_management as mm
import comfy.samplers
import comfy.utils
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ...flashvideo_core.config import TransformerConfig
from ...flashvideo_core.errors import InputError
from ...flashvideo_core.guidance import guidance_scale
from ...flashvideo_core.sampling import dpmpp_2m_sde, make_draw_noise, round_to_table_alpha
from ...flashvideo_core.schedule import stage1_schedule, stage2_times, velocity_to_denoised
from .flow import FlowFromReference
from .models import StageModel
from .progress import preview_callback


class Stage1Sampler(comfy.samplers.Sampler):
    """The released stage-1 sampler on a ComfyUI model.

    One ComfyUI sigma cannot carry both the timestep and the alpha that the released solver uses there, so v
    is recovered from ComfyUI's clean estimate at sigma(timestep), and the solver's own alpha is applied.
    Without `draw_noise` the step noise is what follows the initial noise of the sampling's seed.
    """

    def __init__(self, draw_noise: Callable[[Tensor], Tensor] | None = None):
        self.draw_noise = draw_noise

    def sample(
        self, model_wrap, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False
    ):
        steps = len(sigmas) - 1
        timesteps, sqrt_alphas = stage1_schedule(steps)
        check_timesteps(model_wrap.inner_model.model_sampling.timestep(sigmas[:-1]).tolist(), timesteps)
        model = comfy.samplers.KSamplerX0Inpaint(model_wrap, sigmas)
        model.latent_image, model.noise = latent_image, noise
        extra_args["denoise_mask"] = denoise_mask

        def denoise(x: Tensor, i: int) -> Tensor:
            grow = (1 + sigmas[i] ** 2).sqrt()  # ComfyUI's x is the released one divided by alpha
            clean = model(x * grow, sigmas[i].expand(x.shape[0]), **extra_args)
            v = (x / grow - clean) / (1 - grow**-2).sqrt()
            clean = velocity_to_denoised(x, v, round_to_table_alpha(float(sqrt_alphas[i])))
            if callback is not None:
                callback(i, clean, x, steps)
            bar.update()
            return clean

        draw_noise = self.draw_noise or noise_after(extra_args.get("seed") or 0, noise)
        with tqdm(total=steps, disable=disable_pbar) as bar:
            return dpmpp_2m_sde(denoise, noise, sqrt_alphas, draw_noise)


def noise_after(seed: int, initial: Tensor) -> Callable[[Tensor], Tensor]:
    """The seeds' generators, one a draft, after each has drawn its initial noise."""
    draw_noise = make_draw_noise(seed, initial.shape[0])
    draw_noise(initial)
    return draw_noise


def check_timesteps(found: list[int], wanted: list[int]) -> None:
    if found != wanted:
        raise InputError(
            f"the FlashVideo stage-1 sampler needs its own sigmas (timesteps {wanted[0]}, {wanted[1]}, ...), "
            f"not {found[:2]}...; connect the FlashVideo Sigmas node"
        )


class Guider(comfy.samplers.CFGGuider):
    """Guidance whose scale may follow the timestep, as in released stage 1; "constant" is plain CFG."""

    def __init__(self, model, positive, negative, cfg: float, guidance: str):
        super().__init__(model)
        self.set_conds(positive, zeros_like(positive) if negative is None else negative)
        self.set_cfg(cfg)
        self.scale_of = guidance_scale(guidance)

    def predict_noise(self, x, timestep, model_options, seed=None):
        steps = len(model_options["transformer_options"]["sample_sigmas"]) - 1
        t = float(self.inner_model.model_sampling.timestep(timestep)[0])
        negative, positive = self.conds["negative"], self.conds["positive"]
        return comfy.samplers.sampling_function(
            self.inner_model, x, timestep, negative, positive, self.scale_of(self.cfg, t, steps), model_options, seed
        )


def zeros_like(conditioning: list) -> list:
    """The released unconditional: zeros in the shape of the conditional embedding."""
    return [[torch.zeros_like(txt), options] for txt, options in conditioning]


def config_of(model, stage: int | None = None) -> TransformerConfig:
    """The config of a MODEL. Raises ValueError if it is not ours, or not of the stage asked for."""
    if not isinstance(model.model, StageModel):
        raise InputError(f"this is a {type(model.model).__name__}, not a FlashVideo model; use FlashVideo Load Model")
    config = model.model.diffusion_model.config
    if stage is not None and config.stage != stage:
        raise InputError(f"this is the stage-{config.stage} model; connect the stage-{stage} model here")
    return config


def sampler_of(model) -> comfy.samplers.Sampler:
    return Stage1Sampler() if config_of(model).objective == "v" else comfy.samplers.ksampler("euler")


def sigmas_of(model, steps: int) -> Tensor:
    """The released schedule of the model's stage as ComfyUI sigmas [steps + 1]."""
    sampling = model.get_model_object("model_sampling")
    if config_of(model).objective == "flow":
        return 1 - stage2_times(steps, sampling.shift)
    timesteps, _ = stage1_schedule(steps)
    return torch.cat([sampling.sigmas[timesteps].cpu(), torch.zeros(1)])


def with_flow(model, shift: float, ref_step: int):
    """The stage-2 model with another time shift and noise step."""
    config_of(model, stage=2)
    patched = model.clone()
    patched.add_object_patch("model_sampling", FlowFromReference(shift, ref_step))
    return patched


def run_stage1(model, positive, negative, shape, *, seed, drafts, steps, cfg, guidance) -> Tensor:
    """Drafts [drafts, 16, T, H, W] for shape (16, T, H, W); draft i has the seed + i."""
    config_of(model, stage=1)
    guider = Guider(model, positive, negative, cfg, guidance)
    return run(model, guider, torch.zeros(drafts, *shape), seed, steps)


def run_stage2(model, positive, negative, latent, *, seed, steps, cfg, shift, ref_step) -> Tensor:
    """Refined latents of a batch of reference latents [B, 16, T, H, W]; item i has the seed + i."""
    model = with_flow(model, shift, ref_step)
    return run(model, Guider(model, positive, negative, cfg, "constant"), latent, seed, steps)


def run(model, guider, latents: Tensor, seed: int, steps: int) -> Tensor:
    """Samples the items one after the other, so that each equals the same item made alone."""
    sigmas, callback, out = sigmas_of(model, steps), preview_callback(model, len(latents) * steps), []
    quiet = not comfy.utils.PROGRESS_BAR_ENABLED
    for i, z in enumerate(latents.split(1)):
        noise, report = make_draw_noise(seed + i)(z), functools.partial(callback, i * steps)
        item_seed = (seed + i) % 2**64
        out.append(guider.sample(noise, z, sampler_of(model), sigmas, None, report, quiet, item_seed))
    return torch.cat(out).to(device=mm.intermediate_device(), dtype=mm.intermediate_dtype())
