"""The plan of a run, made with the memory that is free when it begins."""

from dataclasses import replace
from typing import TypeVar

from .components import Pipeline
from .dit import Transformer
from .fp8 import has_fp8
from .latent_windows import LatentWindows
from .memory import free_memory, plan_branches
from .plans import DraftPlan, RefinePlan
from .settings import RefineSettings
from .sizes import floor_frame_count
from .vae_passes import plan_split

Plan = TypeVar("Plan", DraftPlan, RefinePlan)
PLANNED_FRAMES = 49


def plan_refine(pipe: Pipeline, frames: int, settings: RefineSettings) -> RefinePlan:
    """Both VAE passes over the refined clip, with the memory now free. frames: of the draft, before trimming.

    A long clip is planned as a short one: its frames are not in memory together (vae_stream.py).
    """
    clip = (floor_frame_count(min(frames, PLANNED_FRAMES)), *settings.size)
    return RefinePlan(plan_split(pipe, "encode", clip), plan_split(pipe, "decode", clip))


def plan_guidance(
    pipe: Pipeline, dit: Transformer, shape: tuple[int, ...], plan: Plan, windows: LatentWindows | None = None
) -> Plan:
    """The plan with the branches of guidance to evaluate at once, for a network that is on its device already."""
    if plan.branches is not None:
        return plan
    free = free_memory(pipe.device)
    latent, fp8 = tuple(shape[2:]), has_fp8(dit)
    latent = latent if windows is None else windows.fit(latent)
    return replace(plan, branches=plan_branches(dit.config, latent, pipe.dtype.itemsize, free, fp8))
