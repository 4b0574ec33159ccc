"""What an evaluation shows: verdicts by rules that were fixed before the figures were known.

The rules are what was wanted of the embedded model, and the trends of arXiv 2502.05179. A verdict goes by the figure
itself, and beside it stands the interval in which 95 % of such figures lie. One that cannot be computed says so; none
is rounded in its favour.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ..markdown import format_percent
from .evaluate_rendered import CEILING, CLEAN
from .intervals import Interval, compute_percentiles, resample_means
from .results import Measurements, QualityRow, RefinedRow, Verdict

WANTED = {"color": 0.97, "motion": 0.97, "shape": 0.93}
CEILING_PSNR = 33.0  # dB of the VAE alone, at full size
PSNR_GAIN = 1.5  # dB above bilinear upsampling
EDGE_GAIN = 2.0  # times as sharp as it
FEW, MANY, REACHED = 4, 8, 0.98  # paper: 4 evaluations reach 98 % of 8 (MUSIQ 58.69 and 59.64)
MEASURES = {"psnr": "PSNR", "edges": "edge sharpness"}
DIFFERENCES = {"psnr": "{:+.2f} dB", "edges": "{:+.3f}"}  # how they are shown
PAPER_ORDER = ("upsampled draft", "none", "pixel", "pixel + latent")  # paper: MUSIQ 23.61, -, 49.12, 55.45
FAITHFUL_LOSS = 0.01  # of low_frequency, which is 1 where the draft's low frequencies are kept


class Comparison(NamedTuple):
    """Of the means of two rows over the same clips; no interval where there is one clip."""

    value: float
    interval: Interval | None

    def format(self, pattern: str, scale: float = 1.0) -> str:
        """The value as the pattern shows it, and its interval."""
        return pattern.format(scale * self.value) + format_interval(self.interval, pattern, scale)


def format_interval(interval: Interval | None, pattern: str, scale: float = 1.0) -> str:
    """ " (low to high)", or nothing without an interval."""
    if interval is None:
        return ""
    low, high = (pattern.format(scale * end).split(" ")[0] for end in interval)
    return f" ({low} to {high})"


def compare_rows(
    one: QualityRow | RefinedRow,
    other: QualityRow | RefinedRow,
    name: str,
    how: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Comparison:
    """How one mean stands to another, clip by clip paired; how: np.subtract or np.divide."""
    values = np.array([[clip[name] for clip in row["clips"]] for row in (one, other)])
    interval = compute_percentiles(how(*resample_means(values))) if values.shape[1] > 1 else None
    return Comparison(float(how(*values.mean(1))), interval)


def draw_verdicts(result: Measurements) -> list[Verdict]:
    """All of them, the wanted figures first."""
    return [*_judge_drafts(result), *_judge_quality(result), *_judge_trends(result)]


def _judge_drafts(result: Measurements) -> Iterator[Verdict]:
    drafts = result["drafts"]
    for name, least in WANTED.items():
        found = Comparison(drafts[name], drafts["intervals"][name])
        claim = f"{name} accuracy of the draft >= {format_percent(least)}"
        yield _make_verdict(claim, found.format("{:.1f} %", 100), found.value >= least)


def _judge_quality(result: Measurements) -> Iterator[Verdict]:
    rows = {row["name"]: row for row in result["held_out"]["rows"]}
    ceiling = Comparison(rows[CEILING]["psnr"], rows[CEILING]["intervals"].get("psnr"))
    claim = f"PSNR of the original through the VAE >= {CEILING_PSNR:g} dB"
    yield _make_verdict(claim, ceiling.format("{:.2f} dB"), ceiling.value >= CEILING_PSNR)
    for source in ("", CLEAN):
        low, high = rows[f"bilinear{source}"], rows[f"refined{source}"]
        gain, ratio = compare_rows(high, low, "psnr", np.subtract), compare_rows(high, low, "edges", np.divide)
        claim = f"refined PSNR >= bilinear + {PSNR_GAIN} dB{source}"
        yield _make_verdict(claim, gain.format("{:+.2f} dB"), gain.value >= PSNR_GAIN)
        claim = f"refined edges >= {EDGE_GAIN:g} times bilinear{source}"
        yield _make_verdict(claim, ratio.format("{:.2f} times"), ratio.value >= EDGE_GAIN)


def _judge_trends(result: Measurements) -> Iterator[Verdict]:
    held_out = result["held_out"]
    by_steps = {row["steps"]: row for row in held_out["evaluations"]}
    for name, label in MEASURES.items():
        share = compare_rows(by_steps[FEW], by_steps[MANY], name, np.divide)
        claim = f"{label}: {FEW} evaluations reach {format_percent(REACHED)} of {MANY}"
        yield _make_verdict(claim, share.format("{:.1f} %", 100), share.value >= REACHED)
    for name in MEASURES:
        yield _judge_guidance(held_out["guidance"], name)
    for name in MEASURES:
        yield _judge_noise_step(held_out["noise_steps"], name)
    yield from judge_ablation(result["refined"]["rows"])


def judge_ablation(rows: Sequence[RefinedRow]) -> Iterator[Verdict]:
    """The verdicts on the ablation: its order, and what it costs. The paper has no row without any degradation."""
    order = "degradation rows ordered as in the paper by edge sharpness: " + " < ".join(PAPER_ORDER)
    faithful = f"pixel + latent keeps the draft's low frequencies as none does, within {FAITHFUL_LOSS:g}"
    found = {row["name"]: row for row in rows}
    if not set(PAPER_ORDER) <= found.keys():
        for claim in (order, faithful):
            yield _make_verdict(claim, "not measured: no folder with the ablated stage 2 was given", None)
        return
    chosen = [found[name] for name in PAPER_ORDER]
    steps = [compare_rows(high, low, "edges", np.subtract) for low, high in pairwise(chosen)]
    text = " / ".join(f"{row['edges']:.3f}" for row in chosen)
    text += "; steps " + ", ".join(step.format("{:+.3f}") for step in steps)
    yield _make_verdict(order, text, all(step.value > 0 for step in steps))
    loss = compare_rows(found["pixel + latent"], found["none"], "low_frequency", np.subtract)
    yield _make_verdict(faithful, loss.format("{:+.4f}"), loss.value >= -FAITHFUL_LOSS)


def _judge_guidance(rows: Sequence[QualityRow], name: str) -> Verdict:
    """An optimum at the highest guidance is one above 1, too, and the figure says where it is."""
    (without,) = (row for row in rows if row["cfg"] == 1)
    claim = f"{MEASURES[name]}: guidance of stage 2 has its optimum above 1"
    return _judge_optimum(claim, rows, without, "cfg", name)


def _judge_noise_step(rows: Sequence[QualityRow], name: str) -> Verdict:
    """An optimum at an end of the list is none: the curve only rises or falls there."""
    end = max(rows[0], rows[-1], key=lambda row: row[name])
    claim = f"{MEASURES[name]} has its optimum inside noise steps {rows[0]['ref_step']}..{rows[-1]['ref_step']}"
    return _judge_optimum(claim, rows, end, "ref_step", name)


def _judge_optimum(claim: str, rows: Sequence[QualityRow], limit: QualityRow, key: str, name: str) -> Verdict:
    """The best row has to be better than the one at the limit by more than chance: the whole interval is above 0."""
    best = max(rows, key=lambda row: row[name])
    if best[name] <= limit[name]:
        return _make_verdict(claim, f"best at {limit[key]:g}", False)
    gain = compare_rows(best, limit, name, np.subtract)
    found = f"best at {best[key]:g}, {gain.format(DIFFERENCES[name])} over {limit[key]:g}"
    return _make_verdict(claim, found, gain.interval is None or gain.interval[0] > 0)


def _make_verdict(claim: str, found: str, holds: bool | None) -> Verdict:
    return {"claim": claim, "found": found, "holds": holds}
