"""The numbers of a run, complete and checked before anything is sampled.

None takes the default that is stored beside the weights. Both functions raise InputError with one line that
names the value and the rule, so that a wrong refinement is not found after a long draft.
"""

import math

from .config import SamplingDefaults
from .errors import InputError
from .guidance import guidance_scale
from .schedule import check_noise_step, stage1_schedule, stage2_times
from .sizes import check_frame_count, floor_size

MAX_STEPS = 1000


def draft_settings(
    default: SamplingDefaults,
    *,
    frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
    steps: int | None = None,
    cfg: float | None = None,
    guidance: str | None = None,
) -> dict:
    """Stage 1: frames 4n+1, sides floored to multiples of 16, steps 2..999, cfg finite."""
    settings = {
        "frames": _or(frames, default.frames),
        "height": _or(height, default.size[0]),
        "width": _or(width, default.size[1]),
        "steps": _or(steps, default.steps),
        "cfg": _or(cfg, default.cfg),
        "guidance": _or(guidance, default.guidance),
    }
    check_frame_count(settings["frames"])
    settings["height"], settings["width"] = floor_size((settings["height"], settings["width"]))
    stage1_schedule(settings["steps"])
    guidance_scale(settings["guidance"])
    _check_cfg(settings["cfg"])
    return settings


def refine_settings(
    default: SamplingDefaults,
    *,
    size: tuple[int, int] | None = None,
    steps: int | None = None,
    cfg: float | None = None,
    shift: float | None = None,
    ref_step: int | None = None,
) -> dict:
    """Stage 2: size (height, width) floored to multiples of 16, steps from 1, cfg finite, ref_step 0..999."""
    height, width = floor_size(_or(size, default.size))
    settings = {
        "height": height,
        "width": width,
        "steps": _or(steps, default.steps),
        "cfg": _or(cfg, default.cfg),
        "shift": _or(shift, default.shift),
        "ref_step": _or(ref_step, default.ref_step),
    }
    if settings["steps"] > MAX_STEPS:
        raise InputError(f"steps is {settings['steps']}; stage 2 needs 1 to {MAX_STEPS}")
    stage2_times(settings["steps"], settings["shift"])
    check_noise_step(settings["ref_step"])
    _check_cfg(settings["cfg"])
    return settings


def _check_cfg(cfg: float) -> None:
    if not math.isfinite(cfg):
        raise InputError(f"cfg is {cfg}; it must be a finite number")


def _or(value, default):
    return default if value is None else value
