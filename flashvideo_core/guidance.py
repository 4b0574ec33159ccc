"""Classifier-free guidance: both branches of a model, their combination, and scales that may follow the timestep."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .errors import InputError
from .types import Branches, GuidedModel, Model, OnPass

COND, UNCOND = "cond", "uncond"  # the branches

CfgSchedule = Callable[[float, int, int], float]
"""schedule(cfg, timestep, steps) -> the guidance scale at a timestep (0..999) of a sampler with so many steps."""


def make_branches(
    model: Model, positive: Tensor, negative: Tensor, sequential: bool = False, on_pass: OnPass | None = None
) -> Branches:
    """The model with both text embeddings [B, L, text_dim] bound: one batch of 2B, or two passes if sequential, which
    take half the memory. on_pass follows what is evaluated."""
    texts = {COND: positive, UNCOND: negative}

    def evaluate(x: Tensor, timestep: float, names: Sequence[str]) -> list[Tensor]:
        if on_pass is not None:
            on_pass(names)
        t, n = torch.full((x.shape[0],), timestep, dtype=torch.float32, device=x.device), len(names)
        if sequential or n == 1:
            return [model(x, t, texts[name]) for name in names]
        out = model(torch.cat([x] * n), torch.cat([t] * n), torch.cat([texts[name] for name in names]))
        return list(out.chunk(n))

    return evaluate


def make_cond_uncond(branches: Branches) -> GuidedModel:
    """Where cfg is 1 the unconditional branch counts nothing, and is not evaluated."""

    def evaluate(x: Tensor, timestep: float, cfg: float) -> tuple[Tensor, Tensor | None]:
        if cfg == 1:
            return branches(x, timestep, (COND,))[0], None
        cond, uncond = branches(x, timestep, (COND, UNCOND))
        return cond, uncond

    return evaluate


def apply_cfg(cond: Tensor, uncond: Tensor | None, cfg: float) -> Tensor:
    """The guided prediction; uncond may be None where cfg is 1."""
    return cond if uncond is None else uncond + cfg * (cond - uncond)


def round_cfg(cfg: float, epsilon: float) -> float:
    """1, which costs one branch, for a scale within epsilon of it; else cfg."""
    return 1.0 if abs(cfg - 1) <= epsilon else cfg


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
