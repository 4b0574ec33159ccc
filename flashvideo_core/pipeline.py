"""The whole path: prompt -> draft -> look at it -> refined clip.

    pipe = load_pipeline()                      # the embedded tiny model
    d = draft(pipe, "a red ball moves left")
    c = refine(pipe, d)

`draft`, `refine` and `generate` take numbers, None for the weights' defaults; `run_draft` and `run_refine` take them as
settings, as the command line and the nodes have them. Each of those is two halves, sampling and decoding, so that a
latent can be kept before its decoding is tried.
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TypeVar

import torch
from torch import Tensor

from .components import Pipeline, check_width, load_pipeline, on_device, require_component
from .dit import Transformer
from .errors import InputError
from .memory import free_memory, plan_branches
from .memory.exhausted import name_phase
from .sampling import make_draw_noise, sample_stage1, sample_stage2
from .settings import SEEDS, DraftPlan, DraftSettings, RefinePlan, RefineSettings
from .sizes import floor_frame_count
from .text import add_motion
from .types import ProgressCallback
from .vae_passes import crop_to_1080, decode, encode, plan_split

__all__ = [
    "Clip",
    "Draft",
    "Pipeline",
    "draft",
    "generate",
    "load_pipeline",
    "refine",
    "run_draft",
    "run_refine",
]
Plan = TypeVar("Plan", DraftPlan, RefinePlan)


@dataclass(frozen=True)
class Draft:
    """Stage 1's result, or any clip to refine. frames float32 [F, H, W, 3] in 0..1; latent in VAE units.

    A clip that stage 1 did not make has no latent, settings or plan.
    """

    prompt: str
    frames: Tensor
    latent: Tensor | None = None
    seed: int = 0
    fps: float | Fraction = 8
    settings: DraftSettings | None = None
    plan: DraftPlan | None = None


@dataclass(frozen=True)
class Clip:
    """Stage 2's result beside its draft. frames float32 [F, H, W, 3] in 0..1; latent in VAE units."""

    draft: Draft
    frames: Tensor
    latent: Tensor
    fps: float | Fraction
    settings: RefineSettings
    plan: RefinePlan


def draft(
    pipe: Pipeline,
    prompt: str,
    *,
    seed: int = 0,
    negative: str | None = None,
    frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
    steps: int | None = None,
    cfg: float | None = None,
    guidance: str | None = None,
    callback: ProgressCallback | None = None,
) -> Draft:
    """Stage 1: a cheap draft that follows the prompt. None takes the default stored beside the weights.

    Sizes are pixels, floored to multiples of 16; frames 4n+1; the seed is taken modulo 2**64. Raises InputError for
    bad input.
    """
    defaults = require_component(pipe, "stage1").config.defaults
    size = {"frames": frames, "height": height, "width": width}
    sampling = {"steps": steps, "cfg": cfg, "guidance": guidance, "seed": seed % SEEDS, "negative": negative}
    settings = DraftSettings.from_defaults(defaults, **size, **sampling)
    return run_draft(pipe, prompt, settings, callback=callback)


def refine(
    pipe: Pipeline,
    d: Draft,
    *,
    seed: int | None = None,
    size: tuple[int, int] | None = None,
    steps: int | None = None,
    cfg: float | None = None,
    shift: float | None = None,
    ref_step: int | None = None,
    callback: ProgressCallback | None = None,
) -> Clip:
    """Stage 2: the draft, or any clip with a prompt, becomes a large, detailed clip in a few evaluations.

    size (height, width) is floored to multiples of 16; a clip is trimmed at its end to 4n+1 frames. Seed and negative
    prompt default to the draft's. Raises InputError for bad input.
    """
    defaults = require_component(pipe, "stage2").config.defaults
    sampling = {"steps": steps, "cfg": cfg, "shift": shift, "ref_step": ref_step}
    from_draft = {"seed": (d.seed if seed is None else seed) % SEEDS, "negative": d.settings and d.settings.negative}
    settings = RefineSettings.from_defaults(defaults, size=size, **sampling, **from_draft)
    return run_refine(pipe, d, settings, callback=callback)


def generate(
    pipe: Pipeline,
    prompt: str,
    *,
    seed: int = 0,
    negative: str | None = None,
    frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
    steps: int | None = None,
    cfg: float | None = None,
    guidance: str | None = None,
    size: tuple[int, int] | None = None,
    refine_seed: int | None = None,
    refine_steps: int | None = None,
    refine_cfg: float | None = None,
    shift: float | None = None,
    ref_step: int | None = None,
    callback: ProgressCallback | None = None,
) -> Clip:
    """A draft, then its refinement. steps and cfg are stage 1's, refine_steps and refine_cfg stage 2's.

    Every number is checked before anything is sampled.
    """
    first, second = (require_component(pipe, stage).config.defaults for stage in ("stage1", "stage2"))
    seed, seed2 = seed % SEEDS, (seed if refine_seed is None else refine_seed) % SEEDS
    of_draft = {"frames": frames, "height": height, "width": width, "steps": steps, "cfg": cfg, "guidance": guidance}
    of_clip = {"steps": refine_steps, "cfg": refine_cfg, "shift": shift, "ref_step": ref_step}
    draft_settings = DraftSettings.from_defaults(first, seed=seed, negative=negative, **of_draft)
    refine_settings = RefineSettings.from_defaults(second, size=size, seed=seed2, negative=negative, **of_clip)
    d = run_draft(pipe, prompt, draft_settings, callback=callback)
    return run_refine(pipe, d, refine_settings, callback=callback)


def run_draft(
    pipe: Pipeline,
    prompt: str,
    settings: DraftSettings,
    *,
    plan: DraftPlan | None = None,
    callback: ProgressCallback | None = None,
) -> Draft:
    """prompt -> text embeddings -> stage 1 -> draft latent -> frames to look at.

    plan repeats what an earlier run did for memory; None plans with what is free now. Raises InputError for a missing
    component, an empty prompt, and weights that give NaN, PhaseOutOfMemoryError where memory does not suffice.
    """
    latent, plan = sample_draft(pipe, prompt, settings, plan=plan, callback=callback)
    return decode_draft(pipe, prompt, latent, settings, plan, callback=callback)


def sample_draft(
    pipe: Pipeline,
    prompt: str,
    settings: DraftSettings,
    *,
    plan: DraftPlan | None = None,
    callback: ProgressCallback | None = None,
) -> tuple[Tensor, DraftPlan]:
    """The first half of `run_draft`: the draft's latent [1, 16, T, H, W] in VAE units, on the CPU."""
    require_component(pipe, "stage1")
    with name_phase("text"):
        txt, negative = embed(pipe, prompt, settings.negative, 1, callback)
    plan = plan or DraftPlan(decode=plan_split(pipe, "decode", (settings.frames, *settings.size)))
    shape = (1, pipe.stage1.config.latent_channels, *settings.latent_shape)
    draw_noise = make_draw_noise(settings.seed)
    with name_phase("stage1"), on_device(pipe.stage1, pipe.device) as dit:
        plan = plan_guidance(pipe, dit, shape, plan)
        latent = sample_stage1(
            dit,
            noise=draw_noise(torch.empty(shape, device=pipe.device)),
            txt=txt,
            steps=settings.steps,
            cfg=settings.cfg,
            guidance=settings.guidance,
            draw_noise=draw_noise,
            negative=negative,
            callback=callback,
            attention=pipe.attention,
            sequential=plan.branches == 1,
        ).cpu()
    return latent, plan


def decode_draft(
    pipe: Pipeline,
    prompt: str,
    latent: Tensor,
    settings: DraftSettings,
    plan: DraftPlan,
    *,
    callback: ProgressCallback | None = None,
) -> Draft:
    """The second half of `run_draft`."""
    with name_phase("draft_decode"):
        frames = decode(pipe, latent, "draft_decode", callback, plan.decode)
    fps = require_component(pipe, "stage1").config.defaults.fps
    return Draft(prompt, frames, latent, settings.seed, fps, settings, plan)


def run_refine(
    pipe: Pipeline,
    d: Draft,
    settings: RefineSettings,
    *,
    plan: RefinePlan | None = None,
    callback: ProgressCallback | None = None,
) -> Clip:
    """draft frames -> hand-off (resize, encode) -> reference latent -> stage 2 -> latent -> decode -> frames.

    plan and errors as in `run_draft`.
    """
    latent, plan = sample_refine(pipe, d, settings, plan=plan, callback=callback)
    return decode_clip(pipe, d, latent, settings, plan, callback=callback)


def sample_refine(
    pipe: Pipeline,
    d: Draft,
    settings: RefineSettings,
    *,
    plan: RefinePlan | None = None,
    callback: ProgressCallback | None = None,
) -> tuple[Tensor, RefinePlan]:
    """The first half of `run_refine`: the refined latent [1, 16, T, H, W] in VAE units, on the CPU."""
    require_component(pipe, "stage2")
    plan = plan or plan_refine(pipe, len(d.frames), settings)
    with name_phase("text"):
        txt, negative = embed(pipe, d.prompt, settings.negative, 2, callback)
    with name_phase("handoff"):
        z_ref = encode(pipe, d.frames, settings.size, callback, plan.encode)
    with name_phase("stage2"), on_device(pipe.stage2, pipe.device) as dit:
        plan = plan_guidance(pipe, dit, z_ref.shape, plan)
        latent = sample_stage2(
            dit,
            z_ref,
            txt,
            noise=make_draw_noise(settings.seed)(z_ref),
            steps=settings.steps,
            cfg=settings.cfg,
            shift=settings.shift,
            ref_step=settings.ref_step,
            negative=negative,
            callback=callback,
            attention=pipe.attention,
            sequential=plan.branches == 1,
        ).cpu()
    return latent, plan


def decode_clip(
    pipe: Pipeline,
    d: Draft,
    latent: Tensor,
    settings: RefineSettings,
    plan: RefinePlan,
    *,
    callback: ProgressCallback | None = None,
) -> Clip:
    """The second half of `run_refine`."""
    with name_phase("decode"):
        frames = crop_to_1080(decode(pipe, latent, "decode", callback, plan.decode))
    return Clip(d, frames, latent, d.fps, settings, plan)


def embed(
    pipe: Pipeline, prompt: str, negative: str | None, stage: int, callback: ProgressCallback | None = None
) -> tuple[Tensor, Tensor | None]:
    """(positive, negative) text embeddings [1, L, text_dim] for a stage, on the pipe's device.

    The negative one is None, which samplers take as zeros, without a negative prompt. Raises InputError for an empty
    prompt, without a text encoder, and for embeddings of another width than the stage's.
    """
    config = require_component(pipe, f"stage{stage}").config
    if pipe.embeddings:
        if negative:
            raise InputError("a negative prompt needs a text encoder; with --embeddings there is none")
        txt, neg = pipe.embeddings[f"stage{stage}"], None
    elif pipe.text is None:
        raise InputError("no text encoder is loaded: give --t5 or --embeddings")
    else:
        txt = pipe.text(add_motion(prompt, config.defaults.motion))
        neg = pipe.text(negative)[:, : config.text_length].to(pipe.device) if negative else None
    check_width(txt, config)
    if callback is not None:
        callback("text", 1, 1, None)
    return txt[:, : config.text_length].to(pipe.device), neg


def plan_refine(pipe: Pipeline, frames: int, settings: RefineSettings) -> RefinePlan:
    """Both VAE passes over the refined clip, with the memory now free. frames: of the draft, before trimming."""
    clip = (floor_frame_count(frames), *settings.size)
    return RefinePlan(plan_split(pipe, "encode", clip), plan_split(pipe, "decode", clip))


def plan_guidance(pipe: Pipeline, dit: Transformer, shape: tuple[int, ...], plan: Plan) -> Plan:
    """The plan with the branches of guidance to evaluate at once, for a network that is on its device already."""
    if plan.branches is not None:
        return plan
    free = free_memory(pipe.device)
    return replace(plan, branches=plan_branches(dit.config, tuple(shape[2:]), pipe.dtype.itemsize, free))
