"""The result of an evaluation, as JSON has it. Accuracies and shares are 0..1, PSNR in dB; a row is a mean over clips.

Sharpness ("edges") and low_frequency are those of quality.py. "intervals" are those in which 95 % of a mean lie, by the
mean's name (intervals.py); a mean over one clip has none.
"""

from collections.abc import Mapping
from typing import TypedDict

from .intervals import Interval

Scores = Mapping[str, float]
"""The numbers of one clip, or their means, by name."""

Seen = Mapping[str, str | None]
"""The colour, shape and motion that detectors see in a clip, by the attribute's name."""


class Miss(TypedDict):
    """An attribute of a draft that was asked for and is not seen."""

    number: int  # of the prompt
    prompt: str
    attribute: str
    wanted: str
    seen: str


class DraftScores(TypedDict):
    """Accuracies over all drafts."""

    count: int
    combinations: int  # of colour, shape and motion
    color: float
    shape: float
    motion: float
    all: float  # of the three at once
    intervals: Mapping[str, Interval]
    misses: list[Miss]


class RefinedRow(TypedDict):
    """Means over drafts, as one stage 2 refined them."""

    name: str
    color: float
    shape: float
    motion: float
    all: float
    edges: float
    low_frequency: float
    matching: float  # share of the clips whose low_frequency is enough
    intervals: Mapping[str, Interval]
    clips: list[Scores]


class RefinedResult(TypedDict):
    """Drafts refined, of which no original exists."""

    count: int
    rows: list[RefinedRow]
    note: str | None


class QualityRow(TypedDict, total=False):
    """Means over rendered clips, of what `name` says, or of stage 2 at a setting. The original has no PSNR."""

    name: str
    steps: int
    ref_step: int
    cfg: float
    psnr: float
    edges: float
    intervals: Mapping[str, Interval]
    clips: list[Scores]


class HeldOutResult(TypedDict):
    """Rendered clips refined, whose original is known."""

    count: int
    sweep_count: int  # clips on which every setting is tried
    frames: int  # of each clip that are compared
    default: Mapping[str, float]  # steps, ref_step and cfg
    rows: list[QualityRow]
    evaluations: list[QualityRow]
    noise_steps: list[QualityRow]
    guidance: list[QualityRow]


class WindowRow(TypedDict, total=False):
    """Means over rendered clips, as attention over a window ("8x12" tokens, or "dense") refined them."""

    window: str
    dense_evaluations: int
    psnr: float
    edges: float
    drift: float  # PSNR against the dense clip, which has none


class WindowsResult(TypedDict):
    """Of `evaluate_windows`."""

    count: int
    frames: int  # of each clip that are compared
    steps: int
    rows: list[WindowRow]


class Verdict(TypedDict):
    """What was claimed before anything was measured, what was found, and whether it holds; None: not measured."""

    claim: str
    found: str
    holds: bool | None


class EvaluationSettings(TypedDict):
    """How both stages were run, by the names of their settings."""

    draft: Mapping[str, object]
    refine: Mapping[str, object]


class Measurements(TypedDict):
    """What verdicts are drawn from."""

    settings: EvaluationSettings
    is_hint: bool  # too few prompts and clips for more
    drafts: DraftScores
    refined: RefinedResult
    held_out: HeldOutResult


class EvaluationResult(Measurements):
    """Of `evaluate`."""

    verdicts: list[Verdict]


class AblationResult(TypedDict):
    """Of `evaluate_ablation`."""

    refined: RefinedResult
    verdicts: list[Verdict]
