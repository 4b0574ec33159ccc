"""How an answer of the embedded model is scored: no network in here, only clips, float32 [F, H, W, 3] in 0..1."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..handoff import resize_frames
from .detectors import Detection, detect
from .held_out import JUDGED, HeldOutPrompt
from .intervals import Interval, compute_percentiles, compute_wilson, resample_means
from .quality import MATCH, compute_psnr, match_low_frequencies, measure_sharpness
from .render import render
from .results import DraftScores, Miss, Scores, Seen
from .scene import Scene

UNSEEN = "nothing"  # what a miss reports where the detectors see no shape
SHARES = (*JUDGED, "all", "matching")  # scores that are 0 or 1 for a clip


def render_frames(scene: Scene, size: tuple[int, int], frames: int) -> Tensor:
    """The scene's first frames, drawn at size (height, width)."""
    return (render(scene, height=size[0], width=size[1], frames=frames).permute(1, 2, 3, 0) + 1) / 2


def downsample(clip: Tensor, size: tuple[int, int]) -> Tensor:
    """The clip averaged down to size (height, width)."""
    return F.interpolate(clip.permute(0, 3, 1, 2), size=size, mode="area").permute(0, 2, 3, 1)


def upsample(clip: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, as the hand-off resizes: what a draft is without stage 2."""
    return resize_frames(clip.permute(3, 0, 1, 2)[None], size)[0].permute(1, 2, 3, 0)


def score_attributes(scene: Scene, seen: Seen) -> Scores:
    """1.0 for each attribute that is seen as it was asked for, and for all of them together."""
    right = {name: float(seen[name] == getattr(scene, name)) for name in JUDGED}
    return right | {"all": min(right.values())}


def name_attributes(seen: Detection) -> Seen:
    """What is seen of what is judged."""
    return {name: getattr(seen, name) for name in JUDGED}


def score_drafts(prompts: Sequence[HeldOutPrompt], drafts: Sequence[Seen]) -> DraftScores:
    """Accuracies over all drafts with their intervals, and a list of the misses: what was wanted and what is seen."""
    scores = [score_attributes(prompt.scene, seen) for prompt, seen in zip(prompts, drafts, strict=True)]
    misses = [
        miss
        for number, (prompt, seen) in enumerate(zip(prompts, drafts, strict=True))
        for miss in _list_misses(number, prompt, seen)
    ]
    combinations = {tuple(getattr(prompt.scene, name) for name in JUDGED) for prompt in prompts}
    counts = {"count": len(prompts), "combinations": len(combinations)}
    return {**counts, **average_scores(scores), "intervals": compute_intervals(scores), "misses": misses}


def _list_misses(number: int, prompt: HeldOutPrompt, seen: Seen) -> list[Miss]:
    return [
        {
            "number": number,
            "prompt": prompt.prompt,
            "attribute": name,
            "wanted": getattr(prompt.scene, name),
            "seen": seen[name] or UNSEEN,
        }
        for name in JUDGED
        if seen[name] != getattr(prompt.scene, name)
    ]


def score_refined(scene: Scene, clip: Tensor, draft: Tensor) -> Scores:
    """Of a clip without an original: what is seen, how sharp, and how true to its draft."""
    match = match_low_frequencies(clip, draft)
    return {
        **score_attributes(scene, name_attributes(detect(clip))),
        "edges": measure_sharpness(clip),
        "low_frequency": match,
        "matching": float(match >= MATCH),
    }


def score_against(original: Tensor, clip: Tensor) -> Scores:
    """PSNR in dB against the original, and sharpness, over the frames that the clip has."""
    return {"psnr": compute_psnr(clip, original[: len(clip)]), "edges": measure_sharpness(clip)}


def average_scores(scores: Sequence[Scores]) -> Scores:
    """The mean of each number over the clips."""
    return {name: float(torch.tensor([score[name] for score in scores]).double().mean()) for name in scores[0]}


def compute_intervals(scores: Sequence[Scores]) -> dict[str, Interval]:
    """In which 95 % of each mean lie: of shares by Wilson, of others by bootstrap, which takes two clips or more."""
    intervals = {}
    for name in scores[0]:
        values = [score[name] for score in scores]
        if name in SHARES:
            intervals[name] = compute_wilson(round(sum(values)), len(values))
        elif len(values) > 1:
            intervals[name] = compute_percentiles(resample_means(values))
    return intervals


def summarize_scores(scores: Sequence[Scores]) -> dict[str, Any]:
    """A row: the means over the clips, their intervals, and what each clip has."""
    return {**average_scores(scores), "intervals": compute_intervals(scores), "clips": list(scores)}
