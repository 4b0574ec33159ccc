"""95 % intervals against values known otherwise."""

import math

import numpy as np
import pytest

from flashvideo_core.tiny.intervals import compute_percentiles, compute_wilson, resample_means


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605)],
)
def test_wilson_is_as_published(right, count, low, high):
    """The last two: R. G. Newcombe, Two-sided confidence intervals for the single proportion (1998), table I."""
    assert compute_wilson(right, count) == pytest.approx((low, high), abs=1e-4)


def test_a_mean_of_many_has_the_interval_of_a_normal_distribution():
    values = np.random.default_rng(1).normal(3.0, 2.0, 400)
    low, high = compute_percentiles(resample_means(values))
    half = 1.96 * values.std() / math.sqrt(400)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)


def test_rows_are_resampled_alike():
    values = np.random.default_rng(2).random(16)
    one, other = resample_means([values, values + 0.5])
    assert np.allclose(other - one, 0.5) and one.std() > 0.01
    assert np.allclose(one, resample_means(values), rtol=0, atol=1e-12)
