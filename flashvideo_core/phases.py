"""The phases of a run, each half of it by itself: sampling gives a latent, decoding gives the frames.

Between the two a latent can be kept (cli/making.py), so that no work is lost with a decoding that fails.
"""

from dataclasses import dataclass, replace
from fractions import Fraction

import torch
from torch import Tensor

from .components import Pipeline, check_width, require_component
from .config import TransformerConfig
from .device import on_device
from .dit import Transformer
from .errors import InputError
from .faithful import Drift, match_draft
from .latent_windows import draw_in_blocks
from .memory.exhausted import name_phase
from .planning import plan_guidance, plan_refine
from .plans import DraftPlan, Passes, RefinePlan
from .sampling import make_draw_noise, sample_stage1, sample_stage2
from .sampling_state import OnSampling, SamplingState, bind_state, count_passes
from .settings import DraftSettings, RefineSettings
from .solvers import OnState, SolverState
from .text import add_motion
from .types import Frames, OnPass, ProgressCallback
from .vae_passes import crop_to_1080, decode, encode, get_handoff_frames, plan_split, read_ranges


@dataclass(frozen=True)
class Draft:
    """Stage 1's result, or any clip to refine. frames float32 [F, H, W, 3] in 0..1; latent in VAE units.

    A clip that stage 1 did not make has no latent, settings or plan, and its frames may be read where they lie.
    """

    prompt: str
    frames: Frames
    latent: Tensor | None = None
    seed: int = 0
    fps: float | Fraction = 8
    settings: DraftSettings | None = None
    plan: DraftPlan | None = None


@dataclass(frozen=True)
class Clip:
    """Stage 2's result beside its draft. frames float32 [F, H, W, 3] in 0..1; latent in VAE units.

    drift: of the frames from the draft's, after what they were to take from it (`RefineSettings.match`).
    """

    draft: Draft
    frames: Tensor
    latent: Tensor
    fps: float | Fraction
    settings: RefineSettings
    plan: RefinePlan
    drift: Drift | None = None


def sample_draft(
    pipe: Pipeline,
    prompt: str,
    settings: DraftSettings,
    *,
    plan: DraftPlan | None = None,
    callback: ProgressCallback | None = None,
    resume: SamplingState | None = None,
    on_state: OnSampling | None = None,
) -> tuple[Tensor, DraftPlan]:
    """prompt -> text embeddings -> stage 1 -> the draft's latent [1, 16, T, H, W] in VAE units, on the CPU.

    From a state that on_state got in an earlier run the same bits follow; with a step cache there are no states.
    """
    require_component(pipe, "stage1")
    with name_phase("text"):
        txt, negative = embed(pipe, prompt, settings.negative, 1, callback)
    plan = resume.plan if resume else plan
    plan = plan or DraftPlan(decode=plan_split(pipe, "decode", (settings.frames, *settings.size)))
    shape = (1, pipe.stage1.config.latent_channels, *settings.latent_shape)
    draw_noise, evaluated = make_draw_noise(settings.seed), count_passes(resume)
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
            cfg_epsilon=settings.cfg_epsilon,
            cache=settings.cache,
            on_pass=evaluated.update,
            **bind_state(pipe, resume, on_state if settings.cache == 0 else None, plan, evaluated),
        ).cpu()
    return latent, replace(plan, passes=Passes.count(evaluated))


def decode_draft(
    pipe: Pipeline,
    prompt: str,
    latent: Tensor,
    settings: DraftSettings,
    plan: DraftPlan,
    *,
    callback: ProgressCallback | None = None,
) -> Draft:
    """latent -> the draft's frames, to look at."""
    with name_phase("draft_decode"):
        frames = decode(pipe, latent, "draft_decode", callback, plan.decode)
    fps = require_component(pipe, "stage1").config.defaults.fps
    return Draft(prompt, frames, latent, settings.seed, fps, settings, plan)


def sample_refine(
    pipe: Pipeline,
    d: Draft,
    settings: RefineSettings,
    *,
    plan: RefinePlan | None = None,
    callback: ProgressCallback | None = None,
    resume: SamplingState | None = None,
    on_state: OnSampling | None = None,
) -> tuple[Tensor, RefinePlan]:
    """Draft frames -> hand-off -> reference latent -> stage 2 -> latent [1, 16, T, H, W] in VAE units, on the CPU.

    From a state that on_state got in an earlier run the same bits follow, without the hand-off.
    """
    require_component(pipe, "stage2")
    plan = resume.plan if resume else plan or plan_refine(pipe, len(d.frames), settings)
    with name_phase("text"):
        txt, negative = embed(pipe, d.prompt, settings.negative, 2, callback)
    with name_phase("handoff"):
        frames = d.frames if resume else get_handoff_frames(pipe, d.frames, d.latent, d.plan, callback)
        z_ref = None if resume else encode(pipe, frames, settings.size, callback, plan.encode)
    with name_phase("stage2"), on_device(pipe.stage2, pipe.device) as dit:
        shape, evaluated = (resume.solver.x if resume else z_ref).shape, count_passes(resume)
        plan = plan_guidance(pipe, dit, shape, plan, settings.latent_windows)
        run = {"negative": negative, "callback": callback, "sequential": plan.branches == 1}
        run |= bind_state(pipe, resume, on_state, plan, evaluated)
        latent = refine_reference(pipe, dit, z_ref, txt, settings, **run, on_pass=evaluated.update)
    return latent, replace(plan, passes=Passes.count(evaluated))


def refine_reference(
    pipe: Pipeline,
    dit: Transformer,
    z_ref: Tensor | None,
    txt: Tensor,
    settings: RefineSettings,
    *,
    negative: Tensor | None = None,
    callback: ProgressCallback | None = None,
    sequential: bool = False,
    on_pass: OnPass | None = None,
    resume: SolverState | None = None,
    on_state: OnState | None = None,
) -> Tensor:
    """Stage 2 from a reference latent [1, 16, T, H, W] (or from `resume`, as `sample_stage2`), on a network that is on
    its device: the latent, on the CPU.

    With latent windows the state of the clip is on the CPU, too, and the network's device holds a window.
    """
    windows, start = settings.latent_windows, resume.x if resume else z_ref
    if windows is not None and windows.count(tuple(start.shape[2:])) > 1:
        z_ref, resume = (start.cpu(), None) if resume is None else (None, resume.to(torch.device("cpu")))
    return sample_stage2(
        dit,
        z_ref,
        txt,
        noise=None if resume else draw_start_noise(z_ref, settings),
        steps=settings.steps,
        cfg=settings.cfg,
        shift=settings.shift,
        ref_step=settings.ref_step,
        negative=negative,
        callback=callback,
        attention=pipe.attention,
        sequential=sequential,
        guided_evaluations=settings.guided_evaluations,
        on_pass=on_pass,
        window=settings.window,
        dense_evaluations=settings.dense_evaluations,
        latent_windows=windows,
        resume=resume,
        on_state=on_state,
    ).cpu()


def draw_start_noise(z_ref: Tensor, settings: RefineSettings) -> Tensor:
    """Stage 2's noise like z_ref [1, 16, T, H, W]; with windows over time each frame's, however long the clip is."""
    draw_noise, windows = make_draw_noise(settings.seed), settings.latent_windows
    block = None if windows is None else windows.size[0]
    return draw_noise(z_ref) if block is None else draw_in_blocks(draw_noise, z_ref, block)


def decode_clip(
    pipe: Pipeline,
    d: Draft,
    latent: Tensor,
    settings: RefineSettings,
    plan: RefinePlan,
    *,
    callback: ProgressCallback | None = None,
) -> Clip:
    """latent -> the refined frames, with what they are to take from the draft, at 1080 rows where they are 1088."""
    with name_phase("decode"):
        frames = decode(pipe, latent, "decode", callback, plan.decode)
    draft = next(iter(read_ranges(d.frames, [(0, len(frames))])))
    drift = match_draft(frames, draft, settings.match)
    return Clip(d, crop_to_1080(frames), latent, d.fps, settings, plan, drift)


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
        txt, *rest = (pipe.text(text) for text in list_texts(config, prompt, negative))
        neg = rest[0][:, : config.text_length].to(pipe.device) if rest else None
    check_width(txt, config)
    if callback is not None:
        callback("text", 1, 1, None)
    return txt[:, : config.text_length].to(pipe.device), neg


def list_texts(config: TransformerConfig, prompt: str, negative: str | None) -> list[str]:
    """What a stage has encoded: its prompt and any negative one. Raises InputError for an empty prompt."""
    return [add_motion(prompt, config.defaults.motion)] + ([negative] if negative else [])
