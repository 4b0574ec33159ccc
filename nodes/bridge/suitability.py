"""What is checked when a sampling starts, whichever node starts it: does everything around the MODEL suit its stage?

ComfyUI's nodes put anything before any model. What cannot work is refused in one sentence that says what to use; what
works badly is said under the node that samples. docs/core-nodes.md has the whole table.
"""

import inspect

import comfy.model_base
import comfy.model_patcher
import comfy.model_sampling
import comfy.samplers
import torch
from comfy.patcher_extension import WrapperExecutor, WrappersMP
from comfy_execution.utils import get_executing_context
from torch import Tensor

from ...flashvideo_core.config import TransformerConfig
from ...flashvideo_core.errors import InputError
from .centered import UNFINISHED, center_stochastic
from .flow import FlowFromReference
from .progress import notify
from .types import Options, SamplerCallback

AXES, AXES_TEXT = (2, 3, 4), "2 (time), 3 (height) or 4 (width)"
NOISE = 5.0  # a sigma at which a clip of deviation 1 is covered by noise
LEAST_GUIDANCE = 0.05  # of a branch's difference in latents of deviation 1
JUMP = (1000.0, 25.0)  # a first step from above the one to below the other
WEAK_SAMPLERS = {"sample_heun": "heun", "sample_dpm_2_ancestral": "dpm_2_ancestral", "sample_unipc": "uni_pc"}


def add_checks(patcher: comfy.model_patcher.ModelPatcher) -> None:
    """Has every sampling of the MODEL and of its clones checked."""
    patcher.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, "flashvideo", sample_checked)
    patcher.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "flashvideo", predict_checked)


def sample_checked(
    executor: WrapperExecutor,
    guider: comfy.samplers.CFGGuider,
    sigmas: Tensor,
    extra_args: Options,
    callback: SamplerCallback | None,
    noise: Tensor,
    latent_image: Tensor | None = None,
    denoise_mask: Tensor | None = None,
    disable_pbar: bool = False,
) -> Tensor:
    """A wrapper around a SAMPLER's sample(). Raises InputError for what does not suit the stage."""
    model, config = guider.inner_model, guider.inner_model.diffusion_model.config
    check_model_sampling(model.model_sampling, config)
    check_merge(guider.model_patcher, config)
    check_partner(getattr(guider, "uncond_inner", None), config)
    check_options(extra_args["model_options"], config)
    check_sigmas(sigmas, config)
    warn(find_weakness(executor.class_obj, sigmas, model.model_sampling, config))
    warn(find_limit(extra_args["model_options"], noise))
    if config.objective == "flow":
        sampler = center_stochastic(executor.class_obj)
        executor = WrapperExecutor.new_class_executor(sampler.sample, sampler, executor.wrappers, executor.idx)
    return executor(guider, sigmas, extra_args, callback, noise, latent_image, denoise_mask, disable_pbar)


def predict_checked(
    executor: WrapperExecutor, x: Tensor, timestep: Tensor, model_options: Options, seed: int | None = None
) -> Tensor:
    """A wrapper around a GUIDER's predict_noise(). Raises InputError for guidance that leaves stage 1 its noise."""
    denoised = executor(x, timestep, model_options, seed)
    config = executor.class_obj.inner_model.diffusion_model.config
    if config.objective == "v" and "sampler_cfg_function" in model_options and torch.equal(denoised, x):
        raise InputError(
            "a guidance node before this one returns nothing for this step (zero init), and stage 1, whose noise falls "
            "from 4518 to about 100 in its first step, never loses it again; switch zero init off"
        )
    return denoised


def check_model_sampling(sampling: object, config: TransformerConfig) -> None:
    """Raises InputError for the sampling of another kind of model, which a ModelSampling node has put in place."""
    table, v = comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.V_PREDICTION
    if config.objective == "flow":
        fits, advice = isinstance(sampling, FlowFromReference), "FlashVideo Stage 2 Flow sets shift and noise step"
        what = "starts from its noised reference"
    else:
        fits, what = isinstance(sampling, table) and isinstance(sampling, v), "predicts v on a table of 1000 timesteps"
        advice = "or take its v_prediction with zsnr"
    if not fits:
        kinds = " and ".join(kind.__name__ for kind in type(sampling).__bases__)
        raise InputError(
            f"stage {config.stage} {what}; remove the ModelSampling node before it (it sets {kinds}): {advice}"
        )


def check_merge(patcher: comfy.model_patcher.ModelPatcher, config: TransformerConfig) -> None:
    """Raises InputError if the model is merged with one of other weights, as stage 1 with stage 2."""
    own = {f"diffusion_model.{name}": p for name, p in patcher.model.diffusion_model.named_parameters()}
    merged = {name: patch[1][0][0] for name in own for patch in patcher.patches.get(name, ()) if type(patch[1]) is list}
    if not merged:
        return
    for name, weight in own.items():
        if name not in merged or merged[name].shape != weight.shape:
            raise InputError(
                f"stage {config.stage} is merged with a model that is none of stage {config.stage} "
                f"({name.removeprefix('diffusion_model.')} has no counterpart there); merge within one stage"
            )


def check_partner(other: comfy.model_base.BaseModel | None, config: TransformerConfig) -> None:
    """Raises InputError for another stage, or another model, that is to evaluate the negative prompt."""
    found = getattr(getattr(other, "diffusion_model", None), "config", None)
    if other is not None and getattr(found, "stage", None) != config.stage:
        raise InputError(f"the negative prompt's model is none of stage {config.stage}; both need to be of one stage")


def check_options(options: Options, config: TransformerConfig) -> None:
    """Raises InputError for model_options that give noise or change nothing: a cache, windows over no axis."""
    cache = options.get("transformer_options", {}).get("easycache")
    if config.objective == "v" and getattr(cache, "name", None) == "LazyCache":
        raise InputError(
            "LazyCache keeps the change that guidance made to a state whose scale falls from 4500 to 0 in stage 1; "
            "use EasyCache, which keeps the network's own"
        )
    windows = options.get("context_handler")
    axis, anchored = getattr(windows, "dim", 2), getattr(windows, "causal_window_fix", False)
    if axis not in AXES:
        raise InputError(f"Context Windows has dim {axis}, which no window cuts here; take {AXES_TEXT}")
    if axis != 2 and anchored:
        raise InputError("Context Windows over height or width needs causal_window_fix off: it repeats a row or column")


def check_sigmas(sigmas: Tensor, config: TransformerConfig) -> None:
    """Raises InputError if stage 1 jumps to the clip from nothing but noise."""
    if config.objective == "v" and len(sigmas) > 2 and float(sigmas[-1]) == 0 and float(sigmas[-2]) > NOISE:
        raise InputError(
            f"these sigmas end {float(sigmas[-2]):.0f}, 0: stage 1 would never see more than noise; "
            "take the scheduler sgm_uniform or simple, or FlashVideo Sigmas"
        )


def find_weakness(sampler: object, sigmas: Tensor, sampling: object, config: TransformerConfig) -> str | None:
    """What is known to cost quality with ComfyUI's samplers, as seen with the embedded model; None if nothing is."""
    name = getattr(getattr(sampler, "sampler_function", None), "__name__", "")
    if name == "sample_lcm":
        return "lcm is for weights distilled for it: others get blurred"
    if config.objective == "flow":
        return None
    if name in UNFINISHED:
        return f"{UNFINISHED[name]} stops at the last sigma above 0 and leaves that noise; dpmpp_2m and euler end at 0"
    if name in WEAK_SAMPLERS and float(sigmas[0]) > JUMP[0]:
        return (
            f"{WEAK_SAMPLERS[name]} does not suit stage 1, whose first step falls from sigma 4518 to about 100: expect "
            "blur or wrong colours; dpmpp_2m_sde, dpmpp_2m and euler suit it"
        )
    if name and float(sigmas[0]) > JUMP[0] and float(sigmas[1]) < JUMP[1]:
        return (
            f"stage 1's first step falls to sigma {float(sigmas[1]):.0f} at once, which costs colour and contrast: "
            "take 15 steps or more of sgm_uniform or simple"
        )
    if name and not getattr(sampling, "zsnr", True):
        return "without zsnr stage 1 starts at sigma 15, which it has not learnt to start from; switch zsnr on"
    return None


def find_limit(options: Options, noise: Tensor) -> str | None:
    """On Adaptive Projected Guidance's limit by a norm over T, H and W, which leaves large clips next to nothing.

    noise [B, C, T, H, W] tells the size.
    """
    for function in options.get("sampler_pre_cfg_function", ()):
        limit = inspect.getclosurevars(function).nonlocals.get("norm_threshold", 0)
        share = limit / noise[0, 0].numel() ** 0.5
        if 0 < share < LEAST_GUIDANCE:
            return (
                f"norm_threshold {limit:g} limits guidance to {share:.3f} for each value of latents of this size, "
                "which is next to nothing; set it to 0"
            )
    return None


def find_lost_patch(options: Options) -> str | None:
    """What transformer_options ask for that one evaluation cannot do: to compare branches that are not both in it."""
    if options.get("patches", {}).get("attn1_output_patch") and options.get("cond_or_uncond") == [0]:
        return (
            "the branches of guidance are evaluated one after the other, since memory does not hold both: Normalized "
            "Attention Guidance needs them together and changes nothing; take a smaller size or fewer frames"
        )
    return None


def warn(text: str | None) -> None:
    """Shows a text in the log and under the node that samples; None shows nothing."""
    if text is not None:
        context = get_executing_context()
        notify(text, context.node_id if context else None)
