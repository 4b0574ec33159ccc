"""Classifier-free guidance, as wrappers of a model function.

A wrapped function evaluates both branches in one batch, or in two passes when memory asks for it.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .errors import InputError


def make_cond_uncond(model: Callable, positive: Tensor, negative: Tensor, sequential: bool = False) -> Callable:
    """model(x, timestep, txt) -> f(x, timestep) that returns (conditional, unconditional) outputs.

    x [B, ...], timestep a number, txt [B, L, text_dim].
    """

    def both(x: Tensor, timestep: float) -> tuple[Tensor, Tensor]:
        t = torch.full((x.shape[0],), timestep, dtype=torch.float32, device=x.device)
        if sequential:
            return model(x, t, positive), model(x, t, negative)
        out = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([positive, negative]))
        return tuple(out.chunk(2))

    return both


def guide(cond: Tensor, uncond: Tensor, scale: float) -> Tensor:
    return uncond + scale * (cond - uncond)


def constant_scale(cfg: float, timestep: int, steps: int) -> float:
    return cfg


def released_dynamic_cfg(cfg: float, timestep: int, steps: int) -> float:
    """The released stage-1 guidance scale, 1 to 1 + cfg.

    The released code means the step counter and passes `steps - timestep` with the raw timestep (0..999),
    so the scale jumps with the step; the model was tuned with it (golden README 3.7, quirk 1).
    """
    return 1 + cfg * (1 - math.cos(math.pi * ((steps - timestep) / steps) ** 5)) / 2


GUIDANCE_SCALES = {"released": released_dynamic_cfg, "constant": constant_scale}


def guidance_scale(guidance: str) -> Callable[[float, int, int], float]:
    """The scale function (cfg, timestep, steps) of a name. Raises ValueError for an unknown name."""
    if guidance not in GUIDANCE_SCALES:
        raise InputError(f"guidance is {guidance!r}; choose one of {', '.join(GUIDANCE_SCALES)}")
    return GUIDANCE_SCALES[guidance]
