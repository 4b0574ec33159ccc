"""Measures a pipeline on the procedural world with classical detectors.

    python -m flashvideo_core evaluate [--prompts N] [--clips N] [--ablation FOLDER] [--json]

Every prompt and clip shows a combination of colour, shape and motion that never occurred in training. Stage 2 is
measured on stage-1 output, where no original exists (evaluate_drafts.py), and on rendered clips, where one does
(evaluate_rendered.py). The folder of the ablation is that of `train ablation` (ablation.py).
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ..checkpoint import load_transformer
from ..components import Pipeline, require_component
from ..errors import InputError
from ..types import ProgressCallback
from .ablation import ABLATION
from .evaluate_drafts import Stage2Variant, get_refine_settings, make_drafts, measure_refined
from .evaluate_rendered import measure_rendered
from .foreground import check_scipy
from .held_out import sample_held_out
from .results import AblationResult, EvaluationResult, Measurements
from .scores import score_drafts
from .verdicts import draw_verdicts, judge_ablation_order

PROMPT_SEED, CLIP_SEED = 1, 2
NO_ABLATION = "The rows of the degradation ablation are left out: no folder of `train ablation` was given (--ablation)."


def evaluate(
    pipe: Pipeline,
    *,
    prompts: int = 60,
    clips: int = 12,
    ablation: str | Path | None = None,
    callback: ProgressCallback | None = None,
) -> EvaluationResult:
    """Everything that `report` tells.

    prompts: drafts that are made and judged; clips: how many of them are refined, and how many rendered clips
    stage 2 is measured on. callback follows every clip. Raises InputError for counts below 1, for an ablation folder
    without its three files, and without scipy.
    """
    check_scipy()
    check_counts(prompts=prompts, clips=clips)
    variants = [*([] if ablation is None else load_ablation(pipe, ablation)), Stage2Variant("stage 2", pipe)]
    held_out = sample_held_out(prompts, PROMPT_SEED)
    drafts = make_drafts(pipe, held_out, callback)
    result: Measurements = {
        "settings": {
            "draft": vars(require_component(pipe, "stage1").config.defaults),
            "refine": get_stage2_numbers(pipe),
        },
        "drafts": score_drafts(held_out, (d.frames for d in drafts)),
        "refined": measure_refined(held_out[:clips], drafts[:clips], variants, callback),
        "held_out": measure_rendered(pipe, sample_held_out(clips, CLIP_SEED), callback),
    }
    if ablation is None:
        result["refined"]["note"] = NO_ABLATION
    return {**result, "verdicts": draw_verdicts(result)}


def evaluate_ablation(
    pipe: Pipeline, folder: str | Path, *, clips: int = 12, callback: ProgressCallback | None = None
) -> AblationResult:
    """The ablation's rows of `evaluate` alone. The pipeline needs no stage 2."""
    check_scipy()
    check_counts(clips=clips)
    variants = load_ablation(pipe, folder)
    held_out = sample_held_out(clips, PROMPT_SEED)
    refined = measure_refined(held_out, make_drafts(pipe, held_out, callback), variants, callback)
    return {"refined": refined, "verdicts": [judge_ablation_order(refined["rows"])]}


def check_counts(**counts: int) -> None:
    """Raises InputError for a count below 1, by its name."""
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"{name} is {count}; it must be at least 1")


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
