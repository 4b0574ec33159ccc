"""Both stages as ComfyUI's SAMPLER, SIGMAS and GUIDER.

The loop of stage 1 is the core's; the loop of stage 2 is ComfyUI's own Euler.
"""

import functools
import itertools
from typing import Any

import comfy.k_diffusion.sampling
import comfy.samplers
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ...flashvideo_core.config import TransformerConfig
from ...flashvideo_core.errors import InputError
from ...flashvideo_core.guidance import find_cfg_schedule, round_cfg
from ...flashvideo_core.sampling import make_draw_noise, round_to_table_alpha
from ...flashvideo_core.schedule import stage1_schedule, stage2_times, velocity_to_denoised
from ...flashvideo_core.solvers import OnState, SolverState, dpmpp_2m_sde
from ...flashvideo_core.types import DrawNoise
from .flow import FlowFromReference
from .models import StageModel
from .types import Conditioning, Model, Options, SamplerCallback, StepCallback


class Stage1Sampler(comfy.samplers.Sampler):
    """The released stage-1 sampler on a ComfyUI model.

    One ComfyUI sigma cannot carry both the timestep and the alpha that the released solver uses there, so v
    is recovered from ComfyUI's denoised at sigma(timestep), and the solver's own alpha is applied.
    Without `draw_noise` the step noise is what follows the initial noise of the sampling's seed.
    """

    def __init__(self, draw_noise: DrawNoise | None = None):
        self.draw_noise = draw_noise

    def sample(
        self,
        model_wrap: comfy.samplers.CFGGuider,
        sigmas: Tensor,
        extra_args: Options,
        callback: SamplerCallback | None,
        noise: Tensor,
        latent_image: Tensor | None = None,
        denoise_mask: Tensor | None = None,
        disable_pbar: bool = False,
    ) -> Tensor:
        steps = len(sigmas) - 1
        timesteps, sqrt_alphas = stage1_schedule(steps)
        check_timesteps(model_wrap.inner_model.model_sampling.timestep(sigmas[:-1]).tolist(), timesteps)
        model = comfy.samplers.KSamplerX0Inpaint(model_wrap, sigmas)
        model.latent_image, model.noise = latent_image, noise
        extra_args["denoise_mask"] = denoise_mask

        def denoise(x: Tensor, i: int) -> Tensor:
            scale = (1 + sigmas[i] ** 2).sqrt()  # from the released x to ComfyUI's, which is divided by alpha
            denoised = model(x * scale, sigmas[i].expand(x.shape[0]), **extra_args)
            v = (x / scale - denoised) / (1 - scale**-2).sqrt()
            denoised = velocity_to_denoised(x, v, round_to_table_alpha(float(sqrt_alphas[i])))
            if callback is not None:
                callback(i, denoised, x, steps)
            bar.update()
            return denoised

        draw_noise = self.draw_noise or make_step_noise(extra_args.get("seed") or 0, noise)
        with tqdm(total=steps, disable=disable_pbar) as bar:
            return dpmpp_2m_sde(denoise, noise, sqrt_alphas, draw_noise)


def make_step_noise(seed: int, initial: Tensor) -> DrawNoise:
    """The seeds' generators, one a draft, after each has drawn its initial noise."""
    draw_noise = make_draw_noise(seed, initial.shape[0])
    draw_noise(initial)
    return draw_noise


def check_timesteps(found: list[int], wanted: list[int]) -> None:
    """Raises InputError for sigmas of another schedule."""
    if found != wanted:
        raise InputError(
            f"the FlashVideo stage-1 sampler needs its own sigmas (timesteps {wanted[0]}, {wanted[1]}, ...), "
            f"not {found[:2]}...; connect the FlashVideo Sigmas node"
        )


class ScheduledCfg(float):
    """A cfg that the guidance changes with the timestep; a plain number in its place (CFG Override) is left alone."""


class Guider(comfy.samplers.CFGGuider):
    """Classifier-free guidance whose scale may follow the timestep, as in released stage 1; "constant" is plain CFG.

    A scale within cfg_epsilon of 1 is taken as 1, for which ComfyUI evaluates one branch.
    """

    def __init__(
        self,
        model: Model,
        positive: Conditioning,
        negative: Conditioning | None,
        cfg: float,
        guidance: str,
        cfg_epsilon: float = 0.0,
    ):
        super().__init__(model)
        self.set_conds(positive, zero_conditioning(positive) if negative is None else negative)
        self.set_cfg(cfg)
        self.cfg_schedule, self.cfg_epsilon = find_cfg_schedule(guidance), cfg_epsilon

    def set_cfg(self, cfg: float) -> None:
        super().set_cfg(ScheduledCfg(cfg))

    def predict_noise(self, x: Tensor, timestep: Tensor, model_options: Options, seed: int | None = None) -> Tensor:
        steps = len(model_options["transformer_options"]["sample_sigmas"]) - 1
        t = float(self.inner_model.model_sampling.timestep(timestep)[0])
        scale = self.cfg_schedule(self.cfg, t, steps) if isinstance(self.cfg, ScheduledCfg) else self.cfg
        scale = round_cfg(scale, self.cfg_epsilon)
        negative, positive = self.conds["negative"], self.conds["positive"]
        return comfy.samplers.sampling_function(
            self.inner_model, x, timestep, negative, positive, scale, model_options, seed
        )


def zero_conditioning(conditioning: Conditioning) -> Conditioning:
    """The released unconditional: zeros in the shape of the conditional embedding."""
    return [[torch.zeros_like(txt), options] for txt, options in conditioning]


def get_config(model: Model, stage: int | None = None) -> TransformerConfig:
    """The config of a MODEL. Raises InputError if it is not ours, or not of the stage asked for."""
    if not isinstance(model.model, StageModel):
        raise InputError(f"this is a {type(model.model).__name__}, not a FlashVideo model; use FlashVideo Load Model")
    config = model.model.diffusion_model.config
    if stage is not None and config.stage != stage:
        raise InputError(f"this is the stage-{config.stage} model; connect the stage-{stage} model here")
    return config


def make_sampler(model: Model) -> comfy.samplers.Sampler:
    """The released sampler of the model's stage."""
    return Stage1Sampler() if get_config(model).objective == "v" else comfy.samplers.ksampler("euler")


def make_resumable_euler(resume: SolverState | None, on_state: OnState) -> comfy.samplers.Sampler:
    """ComfyUI's Euler, which tells its state before each evaluation, and goes on from one of these to the same bits."""
    euler = comfy.k_diffusion.sampling.sample_euler

    @functools.wraps(euler)  # its name says what it suits (suitability.py)
    def sample(
        model: comfy.samplers.KSamplerX0Inpaint,
        x: Tensor,
        sigmas: Tensor,
        extra_args: Options,
        callback: StepCallback,
        disable: bool,
    ) -> Tensor:
        start = resume.step if resume else 0
        steps = itertools.count(start)

        def evaluate(x: Tensor, sigma: Tensor, **options: Any) -> Tensor:
            on_state(SolverState(next(steps), x))
            return model(x, sigma, **options)

        def report(step: Options) -> None:
            callback({**step, "i": start + step["i"]})

        return euler(evaluate, resume.x.to(x) if resume else x, sigmas[start:], extra_args, report, disable)

    return comfy.samplers.KSAMPLER(sample)


def make_sigmas(model: Model, steps: int) -> Tensor:
    """The released schedule of the model's stage as ComfyUI sigmas [steps + 1]."""
    sampling = model.get_model_object("model_sampling")
    if get_config(model).objective == "flow":
        return 1 - stage2_times(steps, sampling.shift)
    timesteps, _ = stage1_schedule(steps)
    return torch.cat([sampling.sigmas[timesteps].cpu(), torch.zeros(1)])


def set_flow(model: Model, shift: float, noise_step: int) -> Model:
    """A clone of the stage-2 model with another time shift and noise step of the reference."""
    get_config(model, stage=2)
    patched, flow = model.clone(), FlowFromReference(model.model.model_config)
    flow.set_parameters(shift=shift)
    flow.set_ref_step(noise_step)
    patched.add_object_patch("model_sampling", flow)
    return patched
