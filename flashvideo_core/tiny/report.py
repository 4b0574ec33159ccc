"""The result of an evaluation as Markdown tables. A bracket behind a figure holds 95 % of such figures."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from ..markdown import format_percent, format_table
from .results import (
    AblationResult,
    DraftScores,
    EvaluationResult,
    HeldOutResult,
    QualityRow,
    RefinedResult,
    RefinedRow,
    Verdict,
    WindowsResult,
)
from .verdicts import WANTED, format_interval

HINT = "A quick look: so few prompts and clips give a hint, not a measurement."


def report(result: EvaluationResult) -> str:
    """The whole result."""
    sections = [HINT] if result["is_hint"] else []
    sections += [_format_drafts(result["drafts"]), _format_refined(result["refined"])]
    sections += _format_held_out(result["held_out"])
    return "\n\n".join([*sections, _format_verdicts(result["verdicts"])]) + "\n"


def report_ablation(result: AblationResult) -> str:
    """The same of the ablation alone."""
    return "\n\n".join([_format_refined(result["refined"]), _format_verdicts(result["verdicts"])]) + "\n"


def report_windows(result: WindowsResult) -> str:
    """Windows of attention beside dense attention."""
    rows = []
    for row in result["rows"]:
        drift = f"{row['drift']:.1f}" if "drift" in row else ""
        rows.append([row["window"], row["dense_evaluations"], f"{row['edges']:.3f}", f"{row['psnr']:.2f}", drift])
    head = ["window", "dense evaluations", "edge sharpness", "PSNR (dB)", "PSNR to the dense clip (dB)"]
    clips = f"first {result['frames']} frames of {result['count']}, {result['steps']} evaluations"
    return f"Windows of attention, held-out rendered clips ({clips})\n\n{format_table(head, rows)}\n"


def _format_verdicts(verdicts: Sequence[Verdict]) -> str:
    answers = {True: "yes", False: "**no**", None: "not measured"}
    rows = [[verdict["claim"], verdict["found"], answers[verdict["holds"]]] for verdict in verdicts]
    return "Verdicts\n\n" + format_table(["claim", "found", "holds"], rows)


def _format_drafts(drafts: DraftScores) -> str:
    names = ("color", "shape", "motion", "all")
    wanted = {name: format_percent(share) for name, share in WANTED.items()}
    rows = [[name, _format_mean(drafts, name, "{:.1f} %", 100), wanted.get(name, "")] for name in names]
    text = (
        f"Drafts of {drafts['count']} prompts, {drafts['combinations']} combinations of colour, shape and motion that "
        f"never occurred in training\n\n{format_table(['attribute', 'right', 'wanted'], rows)}"
    )
    kinds = Counter((miss["attribute"], miss["wanted"], miss["seen"]) for miss in drafts["misses"])
    misses = ", ".join(f"{wanted} seen as {seen} ({n})" for (_, wanted, seen), n in kinds.most_common())
    return f"{text}\n\nMisses: {misses or 'none'}."


def _format_refined(refined: RefinedResult) -> str:
    head = ["clip", "color", "shape", "motion", "edge sharpness", "low frequencies kept", "clips that keep them"]
    rows = []
    for row in refined["rows"]:
        right = [format_percent(row[name]) for name in ("color", "shape", "motion")]
        means = [_format_mean(row, "edges", "{:.3f}"), _format_mean(row, "low_frequency", "{:.3f}")]
        rows.append([row["name"], *right, *means, format_percent(row["matching"])])
    text = f"Stage-1 output refined ({refined['count']} of the drafts)\n\n{format_table(head, rows)}"
    return text + (f"\n\n{refined['note']}" if refined["note"] else "")


def _format_held_out(held_out: HeldOutResult) -> Iterator[str]:
    first = f"first {held_out['frames']} frames of "
    title = f"Held-out rendered clips ({first}{held_out['count']})"
    yield f"{title}\n\n" + _format_quality(held_out["rows"], "name", "clip")
    default, sweep = held_out["default"], f"({first}{held_out['sweep_count']})"
    rest = f"noise step {default['ref_step']}, guidance {default['cfg']:g} {sweep}"
    yield f"Evaluations of stage 2 at {rest}\n\n" + _format_quality(held_out["evaluations"], "steps", "evaluations")
    rest = f"{default['steps']} evaluations, guidance {default['cfg']:g} {sweep}"
    yield f"Noise step at {rest}\n\n" + _format_quality(held_out["noise_steps"], "ref_step", "noise step")
    rest = f"{default['steps']} evaluations, noise step {default['ref_step']} {sweep}"
    yield f"Guidance of stage 2 at {rest}\n\n" + _format_quality(held_out["guidance"], "cfg", "guidance")


def _format_quality(rows: Sequence[QualityRow], key: str, label: str) -> str:
    cells = []
    for row in rows:
        psnr = _format_mean(row, "psnr", "{:.2f}") if "psnr" in row else ""
        cells.append([row[key], psnr, _format_mean(row, "edges", "{:.3f}")])
    return format_table([label, "PSNR (dB)", "edge sharpness"], cells)


def _format_mean(row: DraftScores | RefinedRow | QualityRow, name: str, pattern: str, scale: float = 1.0) -> str:
    """A mean with its interval."""
    intervals: Mapping[str, tuple[float, float]] = row["intervals"]
    return pattern.format(scale * row[name]) + format_interval(intervals.get(name), pattern, scale)
