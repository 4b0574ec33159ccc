"""Verdicts on figures at and beyond their limits, and the report as Markdown."""

import numpy as np
import pytest

from flashvideo_core.tiny.report import HINT, report
from flashvideo_core.tiny.verdicts import compare_rows, draw_verdicts


def make_quality(psnr, edges):
    return {"psnr": psnr, "edges": edges}


def make_figures():
    """A result in which everything wanted and every trend holds."""
    right = {"color": 0.97, "shape": 0.93, "motion": 0.97}
    held = {
        "count": 12,
        "sweep_count": 4,
        "frames": 9,
        "default": {"steps": 4, "ref_step": 575, "cfg": 2.0},
        "rows": [
            {"name": "original", "edges": 0.8},
            {"name": "bilinear", **make_quality(26.0, 0.25)},
            {"name": "bilinear, from clean frames", **make_quality(26.5, 0.25)},
            {"name": "refined, from clean frames", **make_quality(28.0, 0.5)},
            {"name": "refined", **make_quality(27.5, 0.5)},
            {"name": "original through the VAE", **make_quality(33.0, 0.6)},
        ],
        "evaluations": [{"steps": n, **make_quality(p, e)} for n, p, e in ((1, 28, 0.2), (4, 27, 0.3), (8, 27, 0.304))],
        "noise_steps": [
            {"ref_step": n, **make_quality(p, e)} for n, p, e in ((300, 26, 0.2), (575, 27, 0.3), (850, 20, 0.2))
        ],
        "guidance": [{"cfg": n, **make_quality(p, e)} for n, p, e in ((1.0, 26, 0.2), (2.0, 27, 0.3), (4.0, 25, 0.2))],
    }
    names = ("upsampled draft", "none", "pixel", "pixel + latent", "stage 2")
    rest = {**right, "low_frequency": 0.98, "matching": 1.0}
    rows = [{"name": name, **rest, "edges": e} for name, e in zip(names, (1, 2, 3, 4, 2), strict=True)]
    drafts = {"count": 120, "combinations": 64, **right, "all": 0.8, "misses": []}
    return {"is_hint": False, "drafts": drafts, "refined": {"count": 12, "rows": rows, "note": None}, "held_out": held}


def add_clips(result):
    """Two clips to both sides of each mean, and an interval that reaches from one to the other."""
    sweeps = [rows for rows in result["held_out"].values() if isinstance(rows, list)]
    for row in [result["drafts"], *result["refined"]["rows"], *(row for rows in sweeps for row in rows)]:
        means = {name: value for name, value in row.items() if isinstance(value, float | int)}
        row["clips"] = [{name: part * mean for name, mean in means.items()} for part in (0.98, 1.02)]
        row["intervals"] = {name: (0.98 * mean, 1.02 * mean) for name, mean in means.items()}
    return result


def find_failures(result):
    return [v["claim"] for v in draw_verdicts(add_clips(result)) if v["holds"] is not True]


def fail_with(*path, value):
    result = make_figures()
    target = result
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    return find_failures(result)


def test_figures_at_the_limits_hold():
    assert find_failures(make_figures()) == [] and len(draw_verdicts(add_clips(make_figures()))) == 16


@pytest.mark.parametrize(
    ("path", "value", "claim"),
    [
        (("drafts", "color"), 0.969, "color accuracy"),
        (("drafts", "motion"), 0.969, "motion accuracy"),
        (("drafts", "shape"), 0.929, "shape accuracy"),
        (("held_out", "rows", 4, "psnr"), 27.49, "refined PSNR >= bilinear + 1.5 dB"),
        (("held_out", "rows", 4, "edges"), 0.499, "refined edges >= 2 times bilinear"),
        (("held_out", "rows", 2, "psnr"), 26.51, "refined PSNR >= bilinear + 1.5 dB, from clean frames"),
        (("held_out", "rows", 2, "edges"), 0.251, "refined edges >= 2 times bilinear, from clean frames"),
        (("held_out", "evaluations", 1, "edges"), 0.297, "edge sharpness: 4"),
        (("held_out", "evaluations", 1, "psnr"), 26.4, "PSNR: 4"),
        (("held_out", "rows", 5, "psnr"), 32.9, "PSNR of the original through the VAE >= 33 dB"),
        (("refined", "rows", 2, "edges"), 4.1, "degradation rows"),
        (("refined", "rows", 0, "edges"), 2.0, "degradation rows"),
        (("refined", "rows", 3, "low_frequency"), 0.969, "pixel + latent keeps the draft's low frequencies"),
        (("held_out", "guidance", 0, "psnr"), 27.1, "PSNR: guidance of stage 2 has its optimum above 1"),
        (("held_out", "guidance", 0, "edges"), 0.31, "edge sharpness: guidance of stage 2 has its optimum above 1"),
        (("held_out", "noise_steps", 0, "psnr"), 27.1, "PSNR has its optimum"),
        (("held_out", "noise_steps", 2, "edges"), 0.31, "edge sharpness has its optimum"),
    ],
)
def test_a_figure_beyond_its_limit_breaks_its_own_verdict_alone(path, value, claim):
    broken = fail_with(*path, value=value)
    assert len(broken) == 1 and broken[0].startswith(claim)


def test_the_report_is_markdown_tables_with_the_figures_and_the_failures():
    result = make_figures()
    result["drafts"] |= {"shape": 0.5, "misses": [{"attribute": "shape", "wanted": "star", "seen": "circle"}] * 2}
    text = report(result | {"verdicts": draw_verdicts(add_clips(result))})
    assert "| bilinear | 26.00 (25.48 to 26.52) | 0.250 (0.245 to 0.255) |" in text and "| 575 | 27.00 (" in text
    assert "| shape accuracy of the draft >= 93 % | 50.0 % (49.0 to 51.0) | **no** |" in text
    assert "star seen as circle (2)" in text and HINT not in text
    assert report(result | {"verdicts": [], "is_hint": True}).startswith(HINT)
    blocks = [block.split("\n") for block in text.strip().split("\n\n") if block.startswith("|")]
    assert len(blocks) == 7
    for lines in blocks:
        assert len({line.count("|") for line in lines}) == 1 and set(lines[1]) == set("| -")


def test_a_difference_has_the_interval_of_its_pairs():
    """Clips that differ much among themselves and little from their pair: the gain is known well."""
    low = [{"psnr": psnr} for psnr in (20.0, 25.0, 30.0, 35.0)]
    high = [{"psnr": clip["psnr"] + gain} for clip, gain in zip(low, (1.0, 1.1, 0.9, 1.0), strict=True)]
    found = compare_rows({"clips": high}, {"clips": low}, "psnr", np.subtract)
    assert found.value == pytest.approx(1) and 0.9 <= found.interval[0] < 1 < found.interval[1] <= 1.1
    assert found.format("{:+.2f} dB") == f"+1.00 dB ({found.interval[0]:+.2f} to {found.interval[1]:+.2f})"
    assert compare_rows({"clips": high[:1]}, {"clips": low[:1]}, "psnr", np.subtract).format("{:.1f} dB") == "1.0 dB"


def test_an_optimum_that_chance_explains_is_none():
    result = add_clips(make_figures())
    rows = result["held_out"]["guidance"]
    for row, values in zip(rows, ((26.0, 27.0), (29.0, 25.0), (20.0, 21.0)), strict=True):
        row |= {"psnr": sum(values) / 2, "clips": [{"psnr": value, "edges": row["edges"]} for value in values]}
    (verdict,) = (v for v in draw_verdicts(result) if v["claim"].startswith("PSNR: guidance"))
    assert verdict["holds"] is False and verdict["found"] == "best at 2, +0.50 dB (-2.00 to +3.00) over 1"
