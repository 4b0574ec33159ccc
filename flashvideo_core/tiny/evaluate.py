"""Measures a pipeline on the procedural world with classical detectors.

    python -m flashvideo_core evaluate [--prompts N] [--clips N] [--ablation FOLDER] [--json]

Every prompt and clip shows a combination of colour, shape and motion that never occurred in training. Stage 2 is
measured on stage-1 output, where no original exists, and on rendered clips, where one does. The folder of the
ablation is that of `train ablation` (ablation.py).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from ..checkpoint import load_transformer
from ..components import Pipeline, on_device, require_component
from ..errors import InputError
from ..pipeline import Draft, draft, embed
from ..sampling import make_draw_noise, sample_stage2
from ..settings import RefineSettings
from ..vae_passes import decode, encode
from .ablation import ARMS
from .detectors import edge_sharpness
from .report import CLEAN, order, verdicts
from .scores import (
    Asked,
    area_downsampled,
    held_out,
    mean_of,
    rendered,
    score_against,
    score_drafts,
    score_refined,
    upsampled,
)

PROMPT_SEED, CLIP_SEED = 1, 2
EVALUATIONS = (1, 2, 3, 4, 6, 8)  # paper: 1 to 8
NOISE_STEPS = (30, 100, 300, 400, 500, 575, 650, 750, 850)
SWEPT = 3  # every setting is tried on one clip in three, the default one on all
LATENT_FRAMES = 3  # of a rendered clip that are decoded: alone as in the whole clip, and half the time
ROWS = ("original", "original through the VAE", "bilinear", "refined", f"bilinear{CLEAN}", f"refined{CLEAN}")
Setting = tuple[int, int]  # evaluations, noise step
NO_ABLATION = "The rows of the degradation ablation are left out: no folder of `train ablation` was given (--ablation)."


@dataclass(frozen=True)
class Variant:
    """A stage 2 under test: a pipeline that holds it and how it is run where not by its defaults."""

    name: str
    pipe: Pipeline
    how: dict = field(default_factory=dict)


def evaluate(
    pipe: Pipeline,
    *,
    prompts: int = 60,
    clips: int = 12,
    ablation: str | Path | None = None,
    callback: Callable | None = None,
) -> dict:
    """Everything that `report` tells, as JSON: drafts, refined, held_out, verdicts.

    prompts: drafts that are made and judged; clips: how many of them are refined, and how many rendered clips
    stage 2 is measured on. callback(phase, step, total, None) follows every clip. Raises ValueError for counts
    below 1, and for an ablation folder without its three files.
    """
    check_counts(prompts=prompts, clips=clips)
    variants = [*([] if ablation is None else ablated(pipe, ablation)), Variant("stage 2", pipe)]
    asked, drafts = asked_drafts(pipe, prompts, callback)
    result = {
        "settings": {"draft": vars(require_component(pipe, "stage1").config.defaults), "refine": default_of(pipe)},
        "drafts": score_drafts(asked, (d.frames for d in drafts)),
        "refined": measure_refined(asked[:clips], drafts[:clips], variants, callback),
        "held_out": measure_held_out(pipe, held_out(clips, CLIP_SEED), callback),
    }
    if ablation is None:
        result["refined"]["note"] = NO_ABLATION
    return result | {"verdicts": verdicts(result)}


def evaluate_ablation(pipe: Pipeline, folder: str | Path, *, clips: int = 12, callback: Callable | None = None) -> dict:
    """The ablation's rows of `evaluate` alone: refined, verdicts. The pipeline needs no stage 2."""
    check_counts(clips=clips)
    variants = ablated(pipe, folder)
    asked, drafts = asked_drafts(pipe, clips, callback)
    refined = measure_refined(asked, drafts, variants, callback)
    return {"refined": refined, "verdicts": [order(refined["rows"])]}


def check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"{name} is {count}; it must be at least 1")


def asked_drafts(pipe: Pipeline, count: int, callback: Callable | None) -> tuple[list[Asked], list[Draft]]:
    """What stage 1 is asked, and its answers. A smaller count gives the first ones of a larger."""
    asked = held_out(count, PROMPT_SEED)
    return asked, [draft(pipe, a.prompt, seed=i) for i, a in counted(asked, "drafts", callback)]


def ablated(pipe: Pipeline, folder: str | Path) -> list[Variant]:
    """The stage 2 of an ablation, by the names of its rows. Raises ValueError for files that are not such weights."""
    variants = []
    for arm in ARMS:
        path = Path(folder) / f"{arm.name}.safetensors"
        dit = load_transformer(path, dtype=pipe.dtype)
        if dit.config.stage != 2:
            raise InputError(f"{path} holds the weights of stage{dit.config.stage}; stage2 is needed here")
        variants.append(Variant(arm.name.replace("-", " + "), replace(pipe, stage2=dit), dict(arm.how)))
    return variants


def measure_refined(
    asked: Sequence[Asked], drafts: Sequence[Draft], variants: Sequence[Variant], callback: Callable | None = None
) -> dict:
    """A row for the drafts, upsampled only, and one for each variant fed with them."""
    scores: dict[str, list[dict]] = {}
    for i, d in counted(drafts, "refined drafts", callback):
        for name, clip in refined_clips(d, variants):
            scores.setdefault(name, []).append(score_refined(asked[i].scene, clip, d.frames))
    rows = [{"name": name, **mean_of(found)} for name, found in scores.items()]
    return {"count": len(drafts), "rows": rows, "note": None}


def refined_clips(d: Draft, variants: Sequence[Variant]) -> Iterator[tuple[str, Tensor]]:
    """The variants share the VAE, so one reference latent serves them all."""
    pipe = variants[0].pipe
    yield "upsampled draft", upsampled(d.frames, full_size(pipe))
    z_ref = encode(pipe, d.frames, full_size(pipe))
    for variant in variants:
        yield variant.name, refined(variant.pipe, z_ref, d.prompt, d.seed, **variant.how)


def measure_held_out(pipe: Pipeline, asked: Sequence[Asked], callback: Callable | None = None) -> dict:
    """Rows against the original: at the default setting, and along the two sweeps through it."""
    default = (default_of(pipe)["steps"], default_of(pipe)["ref_step"])
    evaluations = [(steps, default[1]) for steps in sorted({*EVALUATIONS, default[0]})]
    noise_steps = [(default[0], ref_step) for ref_step in sorted({*NOISE_STEPS, default[1]})]
    swept = -(-len(asked) // SWEPT)
    rows, sweep = [], []
    for i, a in counted(asked, "rendered clips", callback):
        settings = {default, *evaluations, *noise_steps} if i < swept else {default}
        scores, found = rendered_clip(pipe, a, i, settings)
        rows.append(scores | {"refined": found[default]})
        sweep += [found] if i < swept else []
    return {
        "count": len(asked),
        "sweep_count": swept,
        "frames": measured_frames(pipe),
        "default": named(default),
        "rows": [{"name": name, **mean_of([scores[name] for scores in rows])} for name in ROWS],
        "evaluations": [named(s) | mean_of([found[s] for found in sweep]) for s in evaluations],
        "noise_steps": [named(s) | mean_of([found[s] for found in sweep]) for s in noise_steps],
    }


def rendered_clip(pipe: Pipeline, a: Asked, seed: int, settings: set[Setting]) -> tuple[dict, dict]:
    """Scores of one clip: by name for what stands beside stage 2, and by setting for what stage 2 makes of its draft.

    The draft is the original reduced by area averaging, through the VAE as every draft is. Bilinear upsampling and
    stage 2 get the same; and once more the clean frames that the VAE has not touched, as a video to refine.
    """
    size, small = full_size(pipe), require_component(pipe, "stage1").config.defaults.size
    original = rendered(a.scene, size, require_component(pipe, "stage2").config.defaults.frames)
    clean = area_downsampled(original, small)
    seen = decode(pipe, encode(pipe, clean, small), "draft_decode")
    n = measured_frames(pipe)
    clips = {
        "bilinear": upsampled(seen[:n], size),
        f"bilinear{CLEAN}": upsampled(clean[:n], size),
        f"refined{CLEAN}": refined(pipe, encode(pipe, clean, size), a.prompt, seed, LATENT_FRAMES),
        "original through the VAE": decode(pipe, encode(pipe, original, size)[:, :, :LATENT_FRAMES], "decode"),
    }
    scores = {"original": {"edges": edge_sharpness(original[:n])}}
    scores |= {name: score_against(original, clip) for name, clip in clips.items()}
    z_ref, found = encode(pipe, seen, size), {}
    for setting in settings:
        clip = refined(pipe, z_ref, a.prompt, seed, LATENT_FRAMES, **named(setting))
        found[setting] = score_against(original, clip)
    return scores, found


def refined(pipe: Pipeline, z_ref: Tensor, prompt: str, seed: int, latent_frames: int | None = None, **how) -> Tensor:
    """`pipeline.refine` from a reference latent: frames [F, H, W, 3], of the first `latent_frames` only if given."""
    settings = default_of(pipe, **how)
    txt, _ = embed(pipe, prompt, None, 2)
    sampling = {name: settings[name] for name in ("steps", "cfg", "shift", "ref_step")}
    with on_device(require_component(pipe, "stage2"), pipe.device) as dit:
        z = sample_stage2(
            dit, z_ref, txt, noise=make_draw_noise(seed)(z_ref), attention=pipe.attention, **sampling
        ).cpu()
    return decode(pipe, z[:, :, :latent_frames], "decode")


def default_of(pipe: Pipeline, **how) -> dict:
    settings = RefineSettings.from_defaults(require_component(pipe, "stage2").config.defaults, **how).to_json()
    return {name: value for name, value in settings.items() if name not in ("seed", "negative")}


def full_size(pipe: Pipeline) -> tuple[int, int]:
    return default_of(pipe)["height"], default_of(pipe)["width"]


def measured_frames(pipe: Pipeline) -> int:
    return min(4 * LATENT_FRAMES - 3, require_component(pipe, "stage2").config.defaults.frames)


def named(setting: Setting) -> dict[str, int]:
    return dict(zip(("steps", "ref_step"), setting, strict=True))


def counted(items: Sequence, phase: str, callback: Callable | None) -> Iterator[tuple[int, object]]:
    """enumerate, which reports each item when it is done with."""
    for i, item in enumerate(items):
        yield i, item
        if callback is not None:
            callback(phase, i + 1, len(items), None)
