"""Drafts of stage 1, refined by one or several stage 2. They have no original."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from torch import Tensor

from ..components import Pipeline, require_component
from ..device import on_device
from ..phases import embed, refine_reference
from ..pipeline import Draft, draft
from ..settings import RefineSettings
from ..vae_passes import decode, encode
from .detectors import detect
from .held_out import HeldOutPrompt
from .kept import Task
from .results import RefinedRow, Scores, Seen
from .scores import name_attributes, score_refined, summarize_scores, upsample


@dataclass(frozen=True)
class Stage2Variant:
    """A stage 2 under test: a pipeline that holds it, and how it is run where not by its defaults."""

    name: str
    pipe: Pipeline
    refine_kwargs: Mapping[str, int] = field(default_factory=dict)


def list_draft_tasks(pipe: Pipeline, prompts: Sequence[HeldOutPrompt]) -> list[Task]:
    """What is seen in stage 1's answer to each prompt."""
    return [Task(f"draft-{i:04}", partial(look_at_draft, pipe, prompt, i)) for i, prompt in enumerate(prompts)]


def look_at_draft(pipe: Pipeline, prompt: HeldOutPrompt, number: int) -> Seen:
    return name_attributes(detect(make_draft(pipe, prompt, number).frames))


def make_draft(pipe: Pipeline, prompt: HeldOutPrompt, number: int) -> Draft:
    """Stage 1's answer; the seed is the prompt's number."""
    return draft(pipe, prompt.prompt, seed=number)


def list_refined_tasks(prompts: Sequence[HeldOutPrompt], variants: Sequence[Stage2Variant], name: str) -> list[Task]:
    """Scores, by name, of the draft of each prompt, upsampled only and refined by each variant."""
    return [Task(f"{name}-{i:04}", partial(score_variants, prompt, i, variants)) for i, prompt in enumerate(prompts)]


def score_variants(prompt: HeldOutPrompt, number: int, variants: Sequence[Stage2Variant]) -> dict[str, Scores]:
    d = make_draft(variants[0].pipe, prompt, number)
    return {name: score_refined(prompt.scene, clip, d.frames) for name, clip in refine_with_all(d, variants)}


def summarize_refined(found: Sequence[Mapping[str, Scores]]) -> list[RefinedRow]:
    """A row for each name."""
    return [{"name": name, **summarize_scores([scores[name] for scores in found])} for name in found[0]]


def refine_with_all(d: Draft, variants: Sequence[Stage2Variant]) -> Iterator[tuple[str, Tensor]]:
    """(name, clip [F, H, W, 3]) of the draft upsampled, then refined by each variant.

    The variants share the VAE, so one reference latent serves them all.
    """
    pipe = variants[0].pipe
    size = get_refine_settings(pipe).size
    yield "upsampled draft", upsample(d.frames, size)
    z_ref = encode(pipe, d.frames, size)
    for variant in variants:
        settings = get_refine_settings(variant.pipe, **variant.refine_kwargs, seed=d.seed)
        yield variant.name, refine_latent(variant.pipe, z_ref, d.prompt, settings)


def refine_latent(
    pipe: Pipeline, z_ref: Tensor, prompt: str, settings: RefineSettings, latent_frames: int | None = None
) -> Tensor:
    """`pipeline.refine` from a reference latent: frames [F, H, W, 3], of the first `latent_frames` only if given."""
    txt, _ = embed(pipe, prompt, None, 2)
    with on_device(require_component(pipe, "stage2"), pipe.device) as dit:
        z = refine_reference(pipe, dit, z_ref, txt, settings)
    return decode(pipe, z[:, :, :latent_frames], "decode")


def get_refine_settings(pipe: Pipeline, **given: float) -> RefineSettings:
    """The settings stored beside stage 2's weights, but for those given."""
    return RefineSettings.from_defaults(require_component(pipe, "stage2").config.defaults, **given)
