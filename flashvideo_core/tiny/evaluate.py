"""Measures a pipeline on the procedural world with classical detectors.

    python -m flashvideo_core evaluate [--quick] [--parts FOLDER] [--output FOLDER] [--ablation FOLDER] [--json]

Every prompt and clip shows a combination of colour, shape and motion that never occurred in training. Stage 2 is
measured on stage-1 output, where no original exists (evaluate_drafts.py), and on rendered clips, where one does
(evaluate_rendered.py). The folder of the ablation is that of `train ablation` (ablation.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..checkpoint import load_transformer
from ..components import Pipeline, require_component
from ..errors import InputError
from ..training.cache import hash_json
from ..types import ProgressCallback
from ..weights.reader import file_sha256
from .ablation import ABLATION
from .evaluate_drafts import (
    Stage2Variant,
    get_refine_settings,
    list_draft_tasks,
    list_refined_tasks,
    summarize_refined,
)
from .evaluate_rendered import list_rendered_tasks, summarize_rendered
from .extent import FULL, Extent
from .foreground import check_scipy
from .held_out import HeldOutPrompt, sample_held_out
from .kept import Tasks, open_folder, run_tasks
from .results import AblationResult, EvaluationResult, Measurements
from .scores import score_drafts
from .verdicts import draw_verdicts, judge_ablation

PROMPT_SEED, CLIP_SEED = 1, 2
NO_ABLATION = "The rows of the degradation ablation are left out: no folder of `train ablation` was given (--ablation)."


def evaluate(
    pipe: Pipeline,
    extent: Extent = FULL,
    *,
    ablation: str | Path | None = None,
    folder: Path | None = None,
    callback: ProgressCallback | None = None,
) -> EvaluationResult:
    """Everything that `report` tells.

    folder: where each finished measurement is kept, and those of an earlier run are taken from. callback follows every
    prompt and clip. Raises InputError for an ablation folder without its three files, for a folder with the
    measurements of other weights, and without scipy.
    """
    tasks = list_tasks(pipe, extent, ablation, folder)
    found = run_tasks(tasks, folder, callback)
    drafts, refined, rendered, *ablated = ([found[task.name] for task in some] for some in tasks.values())
    rows = summarize_refined(refined)
    result: Measurements = {
        "settings": {
            "draft": vars(require_component(pipe, "stage1").config.defaults),
            "refine": get_stage2_numbers(pipe),
        },
        "is_hint": extent.is_hint,
        "drafts": score_drafts(sample_held_out(extent.prompts, PROMPT_SEED), drafts),
        "refined": {
            "count": len(refined),
            "rows": rows + [row for some in ablated for row in summarize_refined(some)[1:]],  # without the draft's
            "note": NO_ABLATION if ablation is None else None,
        },
        "held_out": summarize_rendered(pipe, rendered, extent),
    }
    return {**result, "verdicts": draw_verdicts(result)}


def list_tasks(pipe: Pipeline, extent: Extent, ablation: str | Path | None, folder: Path | None) -> Tasks:
    """Whatever `evaluate` measures, by the phase of progress. Several processes can share these tasks."""
    check_scipy()
    asked, clips = sample_held_out(extent.prompts, PROMPT_SEED), sample_held_out(extent.clips, CLIP_SEED)
    tasks = {
        "drafts": list_draft_tasks(pipe, asked),
        "refined drafts": list_refined_tasks(asked[: extent.refined], [Stage2Variant("stage 2", pipe)], "refined"),
        "rendered clips": list_rendered_tasks(pipe, clips, extent),
    }
    if ablation is not None:
        tasks |= list_ablation_tasks(pipe, ablation, asked[: extent.refined])
    if folder is not None:
        options = ("latent_frames", "evaluations", "noise_steps", "guidance")
        open_folder(folder, pipe, sample_world(), {name: getattr(extent, name) for name in options})
    return tasks


def evaluate_ablation(
    pipe: Pipeline,
    ablation: str | Path,
    *,
    clips: int = 16,
    folder: Path | None = None,
    callback: ProgressCallback | None = None,
) -> AblationResult:
    """The ablation's rows of `evaluate` alone. The pipeline needs no stage 2."""
    check_scipy()
    check_counts(clips=clips)
    tasks = list_ablation_tasks(pipe, ablation, sample_held_out(clips, PROMPT_SEED))
    if folder is not None:
        open_folder(folder, pipe, sample_world(), {})
    rows = summarize_refined(list(run_tasks(tasks, folder, callback).values()))
    return {"refined": {"count": clips, "rows": rows, "note": None}, "verdicts": list(judge_ablation(rows))}


def sample_world() -> list[HeldOutPrompt]:
    """Some of the prompts and clips that every evaluation has."""
    return sample_held_out(4, PROMPT_SEED) + sample_held_out(4, CLIP_SEED)


def check_counts(**counts: int) -> None:
    """Raises InputError for a count below 1, by its name."""
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"{name} is {count}; it must be at least 1")


def list_ablation_tasks(pipe: Pipeline, ablation: str | Path, prompts: Sequence[HeldOutPrompt]) -> Tasks:
    """Drafts refined by the three; their files' hash is part of the tasks' names."""
    variants = load_ablation(pipe, ablation)
    known = hash_json([file_sha256(Path(ablation) / f"{ablated.name}.safetensors") for ablated in ABLATION])
    return {"ablation": list_refined_tasks(prompts, variants, f"ablated-{known[:12]}")}


def load_ablation(pipe: Pipeline, folder: str | Path) -> list[Stage2Variant]:
    """The stage 2 of an ablation, by the names of its rows. Raises InputError for files that are not such weights."""
    variants = []
    for ablated in ABLATION:
        path = Path(folder) / f"{ablated.name}.safetensors"
        dit = load_transformer(path, dtype=pipe.dtype)
        if dit.config.stage != 2:
            raise InputError(f"{path} holds the weights of stage{dit.config.stage}; stage2 is needed here")
        name = ablated.name.replace("-", " + ")
        variants.append(Stage2Variant(name, replace(pipe, stage2=dit), ablated.refine_kwargs))
    return variants


def get_stage2_numbers(pipe: Pipeline) -> Mapping[str, object]:
    """How stage 2 samples by default, without what is each clip's own."""
    numbers = get_refine_settings(pipe).to_json()
    return {name: value for name, value in numbers.items() if name not in ("seed", "negative")}
