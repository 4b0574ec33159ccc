"""VBench's scores as one table, with its three totals and the paper's numbers beside them.

Ranges and weights: the folder scripts of github.com/Vchitect/VBench, for its leaderboard. The paper's numbers:
arXiv 2502.05179, VBench-Long at 8 fps, which scores clips in another way than VBench: to be near, not to be equal.
"""

from collections.abc import Mapping
from typing import TypedDict

from ..markdown import format_table

RANGES = {  # of each dimension, over which its score is spread to 0..1 for the totals
    "subject_consistency": (0.1462, 1.0),
    "background_consistency": (0.2615, 1.0),
    "temporal_flickering": (0.6293, 1.0),
    "motion_smoothness": (0.706, 0.9975),
    "dynamic_degree": (0.0, 1.0),
    "aesthetic_quality": (0.0, 1.0),
    "imaging_quality": (0.0, 1.0),
    "object_class": (0.0, 1.0),
    "multiple_objects": (0.0, 1.0),
    "human_action": (0.0, 1.0),
    "color": (0.0, 1.0),
    "spatial_relationship": (0.0, 1.0),
    "scene": (0.0, 0.8222),
    "appearance_style": (0.0009, 0.2855),
    "temporal_style": (0.0, 0.364),
    "overall_consistency": (0.0, 0.364),
}
QUALITY = tuple(RANGES)[:7]
SEMANTIC = tuple(RANGES)[7:]
WEIGHTS = {"dynamic_degree": 0.5}  # of the others 1
QUALITY_SHARE = 0.8  # of the total
PAPER = {"motion_smoothness": 96.84, "quality": 82.99, "semantic": 82.03, "total": 82.80}


class Score(TypedDict):
    """In percent. ours is None for what was not evaluated, paper for what the paper's table is not quoted for."""

    ours: float | None
    paper: float | None


def tabulate(scores: Mapping[str, float]) -> dict[str, Score]:
    """Every dimension in VBench's order, others after them, and the totals as far as all they are made of is there."""
    quality, semantic = (mean_score(scores, names) for names in (QUALITY, SEMANTIC))
    total = None if quality is None or semantic is None else QUALITY_SHARE * quality + (1 - QUALITY_SHARE) * semantic
    found = {name: scores.get(name) for name in dict.fromkeys([*RANGES, *scores])}
    found |= {"quality": quality, "semantic": semantic, "total": total}
    ours = {name: None if score is None else 100 * score for name, score in found.items()}
    return {name: {"ours": score, "paper": PAPER.get(name)} for name, score in ours.items()}


def mean_score(scores: Mapping[str, float], names: tuple[str, ...]) -> float | None:
    """The weighted mean of normalised scores; None where one of them is missing."""
    if not all(name in scores for name in names):
        return None
    spread = {name: (scores[name] - RANGES[name][0]) / (RANGES[name][1] - RANGES[name][0]) for name in names}
    weights = {name: WEIGHTS.get(name, 1.0) for name in names}
    return sum(spread[name] * weights[name] for name in names) / sum(weights.values())


def format_scores(table: Mapping[str, Score]) -> str:
    """As Markdown; a dash for what is not known."""
    rows = [(name, format_score(score["ours"]), format_score(score["paper"])) for name, score in table.items()]
    return format_table(("dimension, in percent", "this folder", "paper, VBench-Long"), rows)


def format_score(score: float | None) -> str:
    return "-" if score is None else f"{score:.2f}"
