"""Rendered clips through the hand-off and stage 2: what comes back, against the original, at many settings."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from ..components import Pipeline, require_component
from ..types import ProgressCallback
from ..vae_passes import decode, encode
from .evaluate_drafts import enumerate_with_progress, get_refine_settings, refine_latent
from .held_out import HeldOutPrompt
from .quality import measure_sharpness
from .results import HeldOutResult, QualityRow, Scores
from .scene import Scene
from .scores import average_scores, downsample, render_frames, score_against, upsample

EVALUATIONS = (1, 2, 3, 4, 6, 8)  # arXiv 2502.05179: 1 to 8
NOISE_STEPS = (30, 100, 300, 400, 500, 575, 650, 750, 850)
SWEPT = 3  # every setting is tried on one clip in three, the default one on all
LATENT_FRAMES = 3  # of a rendered clip that are decoded: alone as in the whole clip, and half the time
CLEAN = ", from clean frames"  # rows of a draft that did not go through the VAE, as a video handed to refine
ROWS = ("original", "original through the VAE", "bilinear", "refined", f"bilinear{CLEAN}", f"refined{CLEAN}")


class Stage2Setting(NamedTuple):
    """Evaluations and noise step."""

    steps: int
    ref_step: int


def measure_rendered(
    pipe: Pipeline, prompts: Sequence[HeldOutPrompt], callback: ProgressCallback | None = None
) -> HeldOutResult:
    """Rows against the original: at the default setting, and along the two sweeps through it."""
    stored = get_refine_settings(pipe)
    default = Stage2Setting(stored.steps, stored.ref_step)
    evaluations = [Stage2Setting(steps, default.ref_step) for steps in sorted({*EVALUATIONS, default.steps})]
    noise_steps = [Stage2Setting(default.steps, ref_step) for ref_step in sorted({*NOISE_STEPS, default.ref_step})]
    swept = -(-len(prompts) // SWEPT)
    rows, sweep = [], []
    for i, prompt in enumerate_with_progress(prompts, "rendered clips", callback):
        settings = {default, *evaluations, *noise_steps} if i < swept else {default}
        scores, found = score_rendered(pipe, prompt, i, settings)
        rows.append({**scores, "refined": found[default]})
        sweep += [found] if i < swept else []
    return {
        "count": len(prompts),
        "sweep_count": swept,
        "frames": count_compared_frames(pipe),
        "default": default._asdict(),
        "rows": [{"name": name, **average_scores([scores[name] for scores in rows])} for name in ROWS],
        "evaluations": _average_sweep(evaluations, sweep),
        "noise_steps": _average_sweep(noise_steps, sweep),
    }


def _average_sweep(
    settings: Sequence[Stage2Setting], sweep: Sequence[Mapping[Stage2Setting, Scores]]
) -> list[QualityRow]:
    return [{**setting._asdict(), **average_scores([found[setting] for found in sweep])} for setting in settings]


def score_rendered(
    pipe: Pipeline, prompt: HeldOutPrompt, seed: int, settings: Collection[Stage2Setting]
) -> tuple[dict[str, Scores], dict[Stage2Setting, Scores]]:
    """Scores of one clip: by name for what stands beside stage 2, and by setting for what stage 2 makes of its draft.

    Bilinear upsampling and stage 2 get the same draft; and once more the clean frames that the VAE has not touched, as
    a video to refine.
    """
    stored = get_refine_settings(pipe, seed=seed)
    size, n = stored.size, count_compared_frames(pipe)
    original, clean, seen = render_draft(pipe, prompt.scene)
    clips = {
        "bilinear": upsample(seen[:n], size),
        f"bilinear{CLEAN}": upsample(clean[:n], size),
        f"refined{CLEAN}": refine_latent(pipe, encode(pipe, clean, size), prompt.prompt, stored, LATENT_FRAMES),
        "original through the VAE": decode(pipe, encode(pipe, original, size)[:, :, :LATENT_FRAMES], "decode"),
    }
    scores = {"original": {"edges": measure_sharpness(original[:n])}}
    scores |= {name: score_against(original, clip) for name, clip in clips.items()}
    z_ref, found = encode(pipe, seen, size), {}
    for setting in settings:
        chosen = get_refine_settings(pipe, seed=seed, **setting._asdict())
        clip = refine_latent(pipe, z_ref, prompt.prompt, chosen, LATENT_FRAMES)
        found[setting] = score_against(original, clip)
    return scores, found


def render_draft(pipe: Pipeline, scene: Scene) -> tuple[Tensor, Tensor, Tensor]:
    """(original, draft without the VAE, draft) of a scene, each [F, H, W, 3].

    The draft is the original reduced by area averaging, through the VAE as every draft is.
    """
    size, draft_size = (require_component(pipe, stage).config.defaults.size for stage in ("stage2", "stage1"))
    original = render_frames(scene, size, require_component(pipe, "stage2").config.defaults.frames)
    clean = downsample(original, draft_size)
    return original, clean, decode(pipe, encode(pipe, clean, draft_size), "draft_decode")


def count_compared_frames(pipe: Pipeline) -> int:
    """Frames that LATENT_FRAMES decode to, if a clip has as many."""
    return min(4 * LATENT_FRAMES - 3, require_component(pipe, "stage2").config.defaults.frames)
