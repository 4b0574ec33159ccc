"""Evaluations that FlashVideo Speed saves: without guidance after the first ones of stage 2, with a cache in stage 1.

Wrappers of ComfyUI's, so that its own samplers save them too. Nothing is kept on the MODEL: a sampling has a step cache
of its own.
"""

import comfy.samplers
import torch
from comfy.patcher_extension import WrapperExecutor, WrappersMP
from torch import Tensor

from ...flashvideo_core.config import TransformerConfig
from ...flashvideo_core.errors import InputError
from ...flashvideo_core.step_cache import StepCache
from .sampling import Guider, get_config
from .speed import SPEED, Speed, is_among_first
from .types import Model, Options

SPEED_WRAPPER = "flashvideo_speed"  # the key of the wrappers here
CACHE = "flashvideo_cache"  # of a sampling, in its transformer_options
GUIDANCE = ("sampler_cfg_function", "sampler_pre_cfg_function", "disable_cfg1_optimization")  # ask for both branches


def apply_speed(model: Model, speed: Speed) -> Model:
    """A clone of the MODEL with these savings in place of any before. Raises InputError for those of another stage."""
    check_stage(speed, get_config(model))
    patched = model.clone()
    patched.model_options["transformer_options"][SPEED] = speed
    wrappers = {
        WrappersMP.PREDICT_NOISE: predict_guided if speed.guided_evaluations else None,
        WrappersMP.SAMPLER_SAMPLE: sample_cached if speed.cache else None,
        WrappersMP.APPLY_MODEL: apply_cached if speed.cache else None,
    }
    for kind, wrapper in wrappers.items():
        patched.remove_wrappers_with_key(kind, SPEED_WRAPPER)
        if wrapper is not None:
            patched.add_wrapper_with_key(kind, SPEED_WRAPPER, wrapper)
    return patched


def check_stage(speed: Speed, config: TransformerConfig) -> None:
    """Raises InputError for what does nothing in the stage."""
    if config.stage == 1 and (speed.window or speed.guided_evaluations):
        raise InputError(
            "this is stage 1, whose drafts are smaller than a window and whose guidance follows a schedule: there "
            "cache alone saves evaluations; windows, dense_evaluations and guided_evaluations are for stage 2"
        )
    if config.stage == 2 and speed.cache:
        raise InputError("cache is for stage 1; stage 2 has too few evaluations to save one that changes little")
    if speed.dense_evaluations and not speed.window:
        raise InputError(f"dense_evaluations is {speed.dense_evaluations}, but all are dense; choose attention windows")


def predict_guided(
    executor: WrapperExecutor, x: Tensor, timestep: Tensor, model_options: Options, seed: int | None = None
) -> Tensor:
    """A wrapper around a GUIDER's predict_noise(): at a scale of 1 it evaluates the conditional branch alone.

    Raises InputError for a guider that has no such scale.
    """
    options, guider = model_options["transformer_options"], executor.class_obj
    check_guider(guider)
    if is_among_first(options, float(timestep[0]), options[SPEED].guided_evaluations):
        return executor(x, timestep, model_options, seed)
    cfg, guider.cfg = guider.cfg, 1.0
    try:
        return executor(x, timestep, {k: v for k, v in model_options.items() if k not in GUIDANCE}, seed)
    finally:
        guider.cfg = cfg


def check_guider(guider: comfy.samplers.CFGGuider) -> None:
    own = type(guider).predict_noise
    if own not in (comfy.samplers.CFGGuider.predict_noise, Guider.predict_noise):
        raise InputError(
            f"{type(guider).__name__} guides by more than one scale, so guided_evaluations of FlashVideo Speed cannot "
            "end it; take CFGGuider or FlashVideo Guider, or set guided_evaluations to 0"
        )


def sample_cached(
    executor: WrapperExecutor, guider: comfy.samplers.CFGGuider, sigmas: Tensor, extra_args: Options, *args, **kwargs
) -> Tensor:
    """A wrapper around a SAMPLER's sample(): a step cache for this sampling. Raises InputError for two caches."""
    options = extra_args["model_options"]["transformer_options"]
    if "easycache" in options:
        raise InputError("EasyCache and the cache of FlashVideo Speed save the same evaluations; remove one of them")
    if extra_args["model_options"].get("context_handler"):
        raise InputError("Context Windows show stage 1 another part at each call; set cache of FlashVideo Speed to 0")
    options[CACHE] = StepCache(options[SPEED].cache)
    return executor(guider, sigmas, extra_args, *args, **kwargs)


def apply_cached(executor: WrapperExecutor, x: Tensor, t: Tensor, *args, **kwargs) -> Tensor:
    """A wrapper around apply_model(), whose result is the denoised latent of each branch in the batch."""
    options = kwargs.get("transformer_options") or args[-1]
    cache: StepCache = options[CACHE]
    names = options["uuids"]
    inputs = executor.class_obj.model_sampling.calculate_input(t, x).chunk(len(names))
    if cache.can_reuse(inputs[0], names):
        return torch.cat([cache.branches[name].denoised for name in names])
    denoised = executor(x, t, *args, **kwargs)
    for name, item, kept in zip(names, inputs, denoised.chunk(len(names)), strict=True):
        cache.keep(name, item, kept)
    return denoised
