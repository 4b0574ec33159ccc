"""How an answer of the embedded model is scored: no network in here, only clips, float32 [F, H, W, 3] in 0..1."""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..handoff import resize_frames
from .detectors import Detection, detect
from .held_out import JUDGED, HeldOutPrompt
from .quality import MATCH, compute_psnr, match_low_frequencies, measure_sharpness
from .render import render
from .results import DraftScores, Miss, Scores
from .scene import Scene

UNSEEN = "nothing"  # what a miss reports where the detectors see no shape


def render_frames(scene: Scene, size: tuple[int, int], frames: int) -> Tensor:
    """The scene's first frames, drawn at size (height, width)."""
    return (render(scene, height=size[0], width=size[1], frames=frames).permute(1, 2, 3, 0) + 1) / 2


def downsample(clip: Tensor, size: tuple[int, int]) -> Tensor:
    """The clip averaged down to size (height, width)."""
    return F.interpolate(clip.permute(0, 3, 1, 2), size=size, mode="area").permute(0, 2, 3, 1)


def upsample(clip: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, as the hand-off resizes: what a draft is without stage 2."""
    return resize_frames(clip.permute(3, 0, 1, 2)[None], size)[0].permute(1, 2, 3, 0)


def score_attributes(scene: Scene, seen: Detection) -> Scores:
    """1.0 for each attribute that is seen as it was asked for, and for all of them together."""
    right = {name: float(getattr(seen, name) == getattr(scene, name)) for name in JUDGED}
    return right | {"all": min(right.values())}


def score_drafts(prompts: Sequence[HeldOutPrompt], drafts: Iterable[Tensor]) -> DraftScores:
    """Accuracies over all drafts and a list of the misses: what was wanted and what is seen."""
    scores, misses = [], []
    for number, (prompt, clip) in enumerate(zip(prompts, drafts, strict=True)):
        seen = detect(clip)
        scores.append(score_attributes(prompt.scene, seen))
        misses += _list_misses(number, prompt, seen)
    combinations = {tuple(getattr(prompt.scene, name) for name in JUDGED) for prompt in prompts}
    return {"count": len(prompts), "combinations": len(combinations), **average_scores(scores), "misses": misses}


def _list_misses(number: int, prompt: HeldOutPrompt, seen: Detection) -> list[Miss]:
    return [
        {
            "number": number,
            "prompt": prompt.prompt,
            "attribute": name,
            "wanted": getattr(prompt.scene, name),
            "seen": getattr(seen, name) or UNSEEN,
        }
        for name in JUDGED
        if getattr(seen, name) != getattr(prompt.scene, name)
    ]


def score_refined(scene: Scene, clip: Tensor, draft: Tensor) -> Scores:
    """Of a clip without an original: what is seen, how sharp, and how true to its draft."""
    match = match_low_frequencies(clip, draft)
    return {
        **score_attributes(scene, detect(clip)),
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
