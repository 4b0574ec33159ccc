"""Verdicts on figures at and beyond their limits, and the report as Markdown."""

import pytest

from flashvideo_core.tiny.report import report
from flashvideo_core.tiny.verdicts import draw_verdicts


def make_quality(psnr, edges):
    return {"psnr": psnr, "edges": edges}


def make_figures():
    """A result in which everything wanted and every trend holds."""
    right = {"color": 0.95, "shape": 0.85, "motion": 0.9}
    held = {
        "count": 12,
        "sweep_count": 4,
        "frames": 9,
        "default": {"steps": 4, "ref_step": 575},
        "rows": [
            {"name": "original", "edges": 0.8},
            {"name": "bilinear", **make_quality(26.0, 0.25)},
            {"name": "bilinear, from clean frames", **make_quality(26.5, 0.25)},
            {"name": "refined, from clean frames", **make_quality(28.0, 0.375)},
            {"name": "refined", **make_quality(27.5, 0.375)},
        ],
        "evaluations": [{"steps": n, **make_quality(p, e)} for n, p, e in ((1, 28, 0.2), (4, 27, 0.3), (8, 27, 0.304))],
        "noise_steps": [
            {"ref_step": n, **make_quality(p, e)} for n, p, e in ((300, 26, 0.2), (575, 27, 0.3), (850, 20, 0.2))
        ],
    }
    names = ("upsampled draft", "pixel", "pixel + latent", "stage 2")
    rows = [{"name": name, **right, "edges": e, "matching": 1.0} for name, e in zip(names, (1, 2, 3, 2), strict=True)]
    drafts = {"count": 60, "combinations": 60, **right, "all": 0.8, "misses": []}
    return {"drafts": drafts, "refined": {"count": 12, "rows": rows, "note": None}, "held_out": held}


def find_failures(result):
    return [v["claim"] for v in draw_verdicts(result) if v["holds"] is not True]


def fail_with(*path, value):
    result = make_figures()
    target = result
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    return find_failures(result)


def test_figures_at_the_limits_hold():
    assert find_failures(make_figures()) == [] and len(draw_verdicts(make_figures())) == 12


@pytest.mark.parametrize(
    ("path", "value", "claim"),
    [
        (("drafts", "color"), 0.949, "color accuracy"),
        (("drafts", "motion"), 0.899, "motion accuracy"),
        (("drafts", "shape"), 0.849, "shape accuracy"),
        (("held_out", "rows", 4, "psnr"), 27.49, "refined PSNR >= bilinear + 1.5 dB"),
        (("held_out", "rows", 4, "edges"), 0.374, "refined edges >= 1.5 times bilinear"),
        (("held_out", "rows", 2, "psnr"), 26.51, "refined PSNR >= bilinear + 1.5 dB, from clean frames"),
        (("held_out", "rows", 2, "edges"), 0.251, "refined edges >= 1.5 times bilinear, from clean frames"),
        (("held_out", "evaluations", 1, "edges"), 0.297, "edge sharpness: 4"),
        (("held_out", "evaluations", 1, "psnr"), 26.4, "PSNR: 4"),
        (("refined", "rows", 1, "edges"), 3.1, "degradation rows"),
        (("refined", "rows", 0, "edges"), 2.0, "degradation rows"),
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
    text = report(result | {"verdicts": draw_verdicts(result)})
    assert "| bilinear | 26.00 | 0.250 |" in text and "| 575 | 27.00 | 0.300 |" in text
    assert "star seen as circle (2)" in text and "| shape accuracy of the draft >= 85 % | 50 % | **no** |" in text
    blocks = [block.split("\n") for block in text.strip().split("\n\n") if block.startswith("|")]
    assert len(blocks) == 6
    for lines in blocks:
        assert len({line.count("|") for line in lines}) == 1 and set(lines[1]) == set("| -")
