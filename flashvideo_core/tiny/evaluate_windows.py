"""What the embedded model makes of rendered clips with attention over windows, and with dense attention.

The model has not seen windows in training.
"""

from collections.abc import Sequence
from dataclasses import replace

from ..components import Pipeline
from ..settings import RefineSettings
from ..types import ProgressCallback
from ..vae_passes import encode
from ..windows import Window
from .evaluate_drafts import get_refine_settings, refine_latent
from .evaluate_rendered import count_compared_frames, render_draft
from .extent import FULL
from .held_out import HeldOutPrompt, sample_held_out
from .quality import compute_psnr
from .results import Scores, WindowsResult
from .scores import average_scores, score_against

CLIP_SEED = 2  # as in evaluate.py
EQUAL = 150.0  # dB: more than float32 tells apart, in place of infinity, which JSON does not have


def evaluate_windows(
    pipe: Pipeline, windows: Sequence[Window], *, clips: int = 3, callback: ProgressCallback | None = None
) -> WindowsResult:
    """A row for dense attention, and two for each window: in every evaluation, and in all but the first."""
    dense = get_refine_settings(pipe)
    rows = [dense, *(over_window(dense, window, first) for window in windows for first in (0, 1))]
    scores = []
    for seed, prompt in enumerate(sample_held_out(clips, CLIP_SEED)):
        scores.append(score_beside_dense(pipe, prompt, rows, seed))
        if callback is not None:
            callback("rendered clips", seed + 1, clips, None)
    return {
        "count": clips,
        "frames": count_compared_frames(pipe, FULL.latent_frames),
        "steps": dense.steps,
        "rows": [
            {"window": str(row.window or "dense"), "dense_evaluations": row.dense_evaluations, **average_scores(found)}
            for row, found in zip(rows, zip(*scores, strict=True), strict=True)
        ],
    }


def over_window(settings: RefineSettings, window: Window, dense_evaluations: int) -> RefineSettings:
    sides = {"window_height": window.height, "window_width": window.width}
    return replace(settings, **sides, dense_evaluations=dense_evaluations)


def score_beside_dense(
    pipe: Pipeline, prompt: HeldOutPrompt, rows: Sequence[RefineSettings], seed: int
) -> list[Scores]:
    """Of each row's clip, against the original; "drift": PSNR in dB against that of the first row, which has none."""
    original, _, seen = render_draft(pipe, prompt.scene)
    z_ref, frames = encode(pipe, seen, rows[0].size), FULL.latent_frames
    dense, *others = (refine_latent(pipe, z_ref, prompt.prompt, replace(row, seed=seed), frames) for row in rows)
    found = [score_against(original, clip) | {"drift": min(EQUAL, compute_psnr(clip, dense))} for clip in others]
    return [score_against(original, dense), *found]
