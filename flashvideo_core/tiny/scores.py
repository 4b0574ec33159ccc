"""What the embedded model is asked, and how an answer is scored: no network in here, only clips.

A score is a dict of numbers for one clip; `mean_of` makes a table row of many. Clips are float32 [F, H, W, 3]
in 0..1.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..handoff import resize
from .captions import caption
from .detectors import MATCH, Detection, detect, edge_sharpness, low_frequency_match, psnr
from .world import COLORS, MOTIONS, SHAPES, Scene, is_holdout, render, sample_scene

JUDGED = ("color", "shape", "motion")
UNSEEN = "nothing"  # what a miss reports where the detectors see no shape


@dataclass(frozen=True)
class Asked:
    """A scene that training never held, and a caption that says its colour, shape and motion."""

    scene: Scene
    prompt: str


def held_out(count: int, seed: int) -> list[Asked]:
    """`count` scenes of held-out combinations of colour, shape and motion: all 64 come before one comes again."""
    rng = np.random.default_rng([20250212, seed])
    combinations = [triple for triple in product(COLORS, SHAPES, MOTIONS) if is_holdout(*triple)]
    rounds = -(-count // len(combinations))
    order = [combinations[i] for _ in range(rounds) for i in rng.permutation(len(combinations))]
    return [_ask(rng, dict(zip(JUDGED, triple, strict=True))) for triple in order[:count]]


def _ask(rng: np.random.Generator, attributes: dict[str, str]) -> Asked:
    """A caption that leaves out what is judged would ask for nothing: those are drawn again."""
    scene = sample_scene(rng, holdout=True, **attributes)
    while True:
        text, mentioned = caption(scene, rng)
        if mentioned.keys() >= set(JUDGED):
            return Asked(scene, text)


def rendered(scene: Scene, size: tuple[int, int], frames: int) -> Tensor:
    """The scene's first frames, drawn at size (height, width): [F, H, W, 3] in 0..1."""
    return (render(scene, height=size[0], width=size[1], frames=frames).permute(1, 2, 3, 0) + 1) / 2


def area_downsampled(clip: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(clip.permute(0, 3, 1, 2), size=size, mode="area").permute(0, 2, 3, 1)


def upsampled(clip: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, as the hand-off resizes: what a draft is without stage 2."""
    return resize(clip.permute(3, 0, 1, 2)[None], size)[0].permute(1, 2, 3, 0)


def hits(scene: Scene, seen: Detection) -> dict[str, float]:
    """1.0 for each attribute that is seen as it was asked for, and for all of them together."""
    right = {name: float(getattr(seen, name) == getattr(scene, name)) for name in JUDGED}
    return right | {"all": min(right.values())}


def score_drafts(asked: Sequence[Asked], drafts: Iterable[Tensor]) -> dict:
    """Accuracies over all drafts and a list of the misses: what was wanted and what is seen."""
    scores, misses = [], []
    for number, (a, clip) in enumerate(zip(asked, drafts, strict=True)):
        seen = detect(clip)
        scores.append(hits(a.scene, seen))
        wrong = [name for name in JUDGED if not scores[-1][name]]
        misses += [
            {
                "number": number,
                "prompt": a.prompt,
                "attribute": name,
                "wanted": getattr(a.scene, name),
                "seen": getattr(seen, name) or UNSEEN,
            }
            for name in wrong
        ]
    combinations = {tuple(getattr(a.scene, name) for name in JUDGED) for a in asked}
    return {"count": len(asked), "combinations": len(combinations), **mean_of(scores), "misses": misses}


def score_refined(scene: Scene, clip: Tensor, draft: Tensor) -> dict[str, float]:
    """Of a clip without an original: what is seen, how sharp, and how true to its draft."""
    match = low_frequency_match(clip, draft)
    return hits(scene, detect(clip)) | {
        "edges": edge_sharpness(clip),
        "low_frequency": match,
        "matching": float(match >= MATCH),
    }


def score_against(original: Tensor, clip: Tensor) -> dict[str, float]:
    """PSNR in dB against the original, and edge sharpness, over the frames that the clip has."""
    return {"psnr": psnr(clip, original[: len(clip)]), "edges": edge_sharpness(clip)}


def mean_of(scores: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: float(torch.tensor([score[name] for score in scores]).double().mean()) for name in scores[0]}
