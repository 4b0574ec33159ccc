"""Classifier-free guidance: both branches of a model, their combination, and scales that may follow the timestep."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .errors import InputError
from .types import GuidedModel, Model

CfgSchedule = Callable[[float, int, int], float]
"""schedule(cfg, timestep, steps) -> the guidance scale at a timestep (0..999) of a sampler with so many steps."""


def make_cond_uncond(model: Model, positive: Tensor, negative: Tensor, sequential: bool = False) -> GuidedModel:
    """The model with both text embeddings [B, L, text_dim] bound: one batch of 2B, or two passes if sequential, which
    take half the memory. Where cfg is 1 the unconditional branch counts nothing, and is not evaluated."""

    def evaluate(x: Tensor, timestep: float, cfg: float) -> tuple[Tensor, Tensor | None]:
        t = torch.full((x.shape[0],), timestep, dtype=torch.float32, device=x.device)
        if cfg == 1:
            return model(x, t, positive), None
        if sequential:
            return model(x, t, positive), model(x, t, negative)
        out = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([positive, negative]))
        return tuple(out.chunk(2))

    return evaluate


def apply_cfg(cond: Tensor, uncond: Tensor | None, cfg: float) -> Tensor:
    """The guided prediction; uncond may be None where cfg is 1."""
    return cond if uncond is None else uncond + cfg * (cond - uncond)


def constant_cfg(cfg: float, timestep: int, steps: int) -> float:
    return cfg


def released_dynamic_cfg(cfg: float, timestep: int, steps: int) -> float:
    """The released stage-1 guidance scale, 1 to 1 + cfg.

    The released code means the step counter and passes `steps - timestep` with the raw timestep (0..999),
    so the scale jumps with the step; the model was tuned with it (docs/released-model.md 3.7 and 5, quirk 1).
    """
    return 1 + cfg * (1 - math.cos(math.pi * ((steps - timestep) / steps) ** 5)) / 2


CFG_SCHEDULES: dict[str, CfgSchedule] = {"released": released_dynamic_cfg, "constant": constant_cfg}


def find_cfg_schedule(guidance: str) -> CfgSchedule:
    """The schedule of a name in CFG_SCHEDULES. Raises InputError for another."""
    if guidance not in CFG_SCHEDULES:
        raise InputError(f"guidance is {guidance!r}; choose one of {', '.join(CFG_SCHEDULES)}")
    return CFG_SCHEDULES[guidance]
