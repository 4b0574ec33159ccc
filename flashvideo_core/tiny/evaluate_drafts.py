"""Drafts of stage 1, refined by one or several stage 2. They have no original."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from torch import Tensor

from ..components import Pipeline, require_component
from ..device import on_device
from ..phases import embed, refine_reference
from ..pipeline import Draft, draft
from ..settings import RefineSettings
from ..types import ProgressCallback
from ..vae_passes import decode, encode
from .held_out import HeldOutPrompt
from .results import RefinedResult, Scores
from .scores import average_scores, score_refined, upsample

Item = TypeVar("Item")


@dataclass(frozen=True)
class Stage2Variant:
    """A stage 2 under test: a pipeline that holds it, and how it is run where not by its defaults."""

    name: str
    pipe: Pipeline
    refine_kwargs: Mapping[str, int] = field(default_factory=dict)


def make_drafts(pipe: Pipeline, prompts: Sequence[HeldOutPrompt], callback: ProgressCallback | None) -> list[Draft]:
    """Stage 1's answer to each prompt; the seed is the prompt's number."""
    numbered = enumerate_with_progress(prompts, "drafts", callback)
    return [draft(pipe, prompt.prompt, seed=number) for number, prompt in numbered]


def measure_refined(
    prompts: Sequence[HeldOutPrompt],
    drafts: Sequence[Draft],
    variants: Sequence[Stage2Variant],
    callback: ProgressCallback | None = None,
) -> RefinedResult:
    """A row for the drafts, upsampled only, and one for each variant fed with them."""
    scores: dict[str, list[Scores]] = {}
    for i, d in enumerate_with_progress(drafts, "refined drafts", callback):
        for name, clip in refine_with_all(d, variants):
            scores.setdefault(name, []).append(score_refined(prompts[i].scene, clip, d.frames))
    rows = [{"name": name, **average_scores(found)} for name, found in scores.items()]
    return {"count": len(drafts), "rows": rows, "note": None}


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


def get_refine_settings(pipe: Pipeline, **given: int) -> RefineSettings:
    """The settings stored beside stage 2's weights, but for those given."""
    return RefineSettings.from_defaults(require_component(pipe, "stage2").config.defaults, **given)


def enumerate_with_progress(
    items: Sequence[Item], phase: str, callback: ProgressCallback | None
) -> Iterator[tuple[int, Item]]:
    """enumerate, which reports each item when it is done with."""
    for i, item in enumerate(items):
        yield i, item
        if callback is not None:
            callback(phase, i + 1, len(items), None)
