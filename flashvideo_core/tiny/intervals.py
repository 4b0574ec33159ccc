"""95 % intervals: of a share by Wilson's formula, of means over clips by bootstrap.

Sources: E. B. Wilson, Probable inference, the law of succession, and statistical inference (JASA 22, 1927);
B. Efron, Bootstrap methods: another look at the jackknife (Annals of Statistics 7, 1979).
"""

import math
from collections.abc import Sequence

import numpy as np

Z = 1.96  # standard deviations of a normal distribution that hold 95 % of it
RESAMPLES = 10_000

Interval = tuple[float, float]
"""(low, high)."""


def compute_wilson(right: int, count: int) -> Interval:
    """Of a share, of which right of count were seen."""
    share, z2 = right / count, Z**2 / count
    middle, half = share + z2 / 2, math.sqrt(z2 * share * (1 - share) + z2**2 / 4)
    return max(0.0, (middle - half) / (1 + z2)), min(1.0, (middle + half) / (1 + z2))


def resample_means(values: Sequence[float] | np.ndarray, seed: int = 0) -> np.ndarray:
    """Means [..., RESAMPLES] of values [..., clips] over clips drawn with replacement.

    The same clips are drawn for every row, and in every call for as many: whatever is computed of two rows is paired.
    """
    values = np.asarray(values, dtype=np.float64)
    drawn = np.random.default_rng(seed).integers(values.shape[-1], size=(RESAMPLES, values.shape[-1]))
    return values[..., drawn].mean(-1)


def compute_percentiles(resampled: np.ndarray) -> Interval:
    """The interval that holds the middle 95 % of a resampled number."""
    low, high = np.quantile(resampled, (0.025, 0.975))
    return float(low), float(high)
