"""Growth with frames and resolution: measured, fitted and drawn."""

import math

import pytest

from flashvideo_core.bench.growth import ATTENTION_CURVES, CURVES, fit_exponent, measure_growth
from flashvideo_core.bench.growth_plot import plot_growth
from flashvideo_core.bench.operations import count_transformer
from flashvideo_core.bench.sizes import SIZES

TINY = SIZES["tiny"]


def test_growth_is_measured_and_drawn(tmp_path):
    curves = {"vae-decode": CURVES["vae-decode"], **ATTENTION_CURVES}
    result = measure_growth("tiny", curves=curves, frames=(1, 3), sides=(1, 1.5))
    assert len(result["points"]) == 3 * 2 * 2
    for curve, window in (("dense", None), ("windows", TINY.window)):
        small, large = (count_transformer(TINY.transformer, (t, 8, 12), window) for t in (1, 3))
        counted = result["exponents"][curve]["frames"]["operations"]
        assert counted == pytest.approx(math.log(large / small) / math.log(9))
    assert all(point["seconds"] > 0 for point in result["points"])
    plot_growth(tmp_path / "growth.png", result)
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


def test_exponent():
    assert fit_exponent([(x, 3 * x**1.5) for x in (1, 2, 5, 9)]) == pytest.approx(1.5)
    assert fit_exponent([(1, 2), (2, None)]) is None
