"""What an evaluation shows: verdicts by rules that were fixed before the figures were known.

The rules are what was wanted of the embedded model, and the trends of arXiv 2502.05179. A verdict that cannot be
computed says so; none is rounded in its favour.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from ..markdown import format_percent
from .evaluate_rendered import CLEAN
from .results import Measurements, QualityRow, RefinedRow, Verdict

WANTED = {"color": 0.95, "motion": 0.90, "shape": 0.85}
PSNR_GAIN = 1.5  # dB above bilinear upsampling
EDGE_GAIN = 1.5  # times as sharp as it
FEW, MANY, REACHED = 4, 8, 0.98  # paper: 4 evaluations reach 98 % of 8 (MUSIQ 58.69 and 59.64)
PAPER_ORDER = ("upsampled draft", "pixel", "pixel + latent")  # paper: MUSIQ 23.61, 49.12, 55.45


def draw_verdicts(result: Measurements) -> list[Verdict]:
    """All of them, the wanted figures first."""
    return [*_judge_wanted(result), *_judge_trends(result)]


def _judge_wanted(result: Measurements) -> Iterator[Verdict]:
    for name, least in WANTED.items():
        found = result["drafts"][name]
        claim = f"{name} accuracy of the draft >= {format_percent(least)}"
        yield _make_verdict(claim, format_percent(found), found >= least)
    rows = {row["name"]: row for row in result["held_out"]["rows"]}
    for source in ("", CLEAN):
        low, high = rows[f"bilinear{source}"], rows[f"refined{source}"]
        gain, ratio = high["psnr"] - low["psnr"], high["edges"] / low["edges"]
        claim = f"refined PSNR >= bilinear + {PSNR_GAIN} dB{source}"
        yield _make_verdict(claim, f"{gain:+.2f} dB", gain >= PSNR_GAIN)
        claim = f"refined edges >= {EDGE_GAIN} times bilinear{source}"
        yield _make_verdict(claim, f"{ratio:.2f} times", ratio >= EDGE_GAIN)


def _judge_trends(result: Measurements) -> Iterator[Verdict]:
    held_out = result["held_out"]
    by_steps = {row["steps"]: row for row in held_out["evaluations"]}
    for name, label in (("edges", "edge sharpness"), ("psnr", "PSNR")):
        share = by_steps[FEW][name] / by_steps[MANY][name]
        claim = f"{label}: {FEW} evaluations reach {format_percent(REACHED)} of {MANY}"
        yield _make_verdict(claim, f"{100 * share:.1f} %", share >= REACHED)
    yield judge_ablation_order(result["refined"]["rows"])
    for name, label in (("psnr", "PSNR"), ("edges", "edge sharpness")):
        yield _judge_optimum(held_out["noise_steps"], name, label)


def judge_ablation_order(rows: Sequence[RefinedRow]) -> Verdict:
    """The verdict on the ablation. The paper has no row for a stage 2 trained without any degradation."""
    claim = "degradation rows ordered as in the paper by edge sharpness: " + " < ".join(PAPER_ORDER)
    edges = {row["name"]: row["edges"] for row in rows}
    if not set(PAPER_ORDER) <= edges.keys():
        return _make_verdict(claim, "not measured: no folder with the ablated stage 2 was given", None)
    values = [edges[name] for name in PAPER_ORDER]
    rising = all(low < high for low, high in pairwise(values))
    return _make_verdict(claim, " / ".join(f"{value:.3f}" for value in values), rising)


def _judge_optimum(rows: Sequence[QualityRow], name: str, label: str) -> Verdict:
    """An optimum at an end of the list is none: the curve only rises or falls there."""
    steps, values = [row["ref_step"] for row in rows], [row[name] for row in rows]
    best = max(range(len(rows)), key=values.__getitem__)
    claim = f"{label} has its optimum inside noise steps {steps[0]}..{steps[-1]}"
    return _make_verdict(claim, f"best at {steps[best]}", 0 < best < len(rows) - 1)


def _make_verdict(claim: str, found: str, holds: bool | None) -> Verdict:
    return {"claim": claim, "found": found, "holds": holds}
