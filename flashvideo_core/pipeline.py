"""The whole path: prompt -> draft -> look at it -> refined clip.

    pipe = load_pipeline()                      # the embedded tiny model
    d = draft(pipe, "a red ball moves left")
    c = refine(pipe, d)

`draft`, `refine` and `generate` take numbers, None for the weights' defaults; `run_draft` and `run_refine` take them as
settings, as the command line and the nodes have them. Each of those is two halves, sampling and decoding
(phases.py).
"""

from .components import Pipeline, load_pipeline, require_component
from .phases import Clip, Draft, decode_clip, decode_draft, sample_draft, sample_refine
from .plans import DraftPlan, RefinePlan
from .setting_rules import SEEDS
from .settings import DraftSettings, RefineSettings
from .types import ProgressCallback

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
