"""Analytic drawing: signed distances of the shapes, and patterns averaged over a pixel's footprint.

Lengths are in any one unit; x is to the right, y down, both arrays that broadcast together. `pixel` is a pixel's side.
"""

import numpy as np

# Distance of a straight side from the centre, per unit of radius: a square is as wide as a circle.
APOTHEM = {"circle": 1.0, "square": 1.0, "triangle": 0.66, "star": 0.43}
LINES = {"square": 4, "triangle": 3, "star": 5}
FIRST_SIDE = {"square": np.pi / 2, "triangle": np.pi / 2, "star": -np.pi / 2}  # its angle: below, or above a star
WAVES = 10  # of which noise is made
REACH = 1.45  # no point of a shape is farther than this many radii from its centre


def signed_distance(shape: str, radius: float, angle: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distance of (x, y), taken from the shape's centre, to its outline, negative inside."""
    side = radius * APOTHEM[shape]
    if shape == "circle":
        return np.sqrt(x * x + y * y) - side
    nearest = second = np.float32(-np.inf)
    for k in range(LINES[shape]):
        a = np.float32(angle + FIRST_SIDE[shape] + 2 * np.pi * k / LINES[shape])
        d = x * np.cos(a) + y * np.sin(a) - np.float32(side)
        nearest, second = np.maximum(nearest, d), np.maximum(second, np.minimum(nearest, d))
    return second if shape == "star" else nearest  # a pentagram is whatever lies within four of its five lines


def stripes(u: np.ndarray, period: float, phase: float, pixel: float) -> np.ndarray:
    """A square wave of -1 and 1 over u, averaged over a pixel (by the difference of its integral)."""
    v, half = u / period + phase, pixel / period / 2

    def integral(t: np.ndarray) -> np.ndarray:
        return 0.5 - np.abs(t - np.floor(t) - 0.5)

    return (integral(v + half) - integral(v - half)) / (2 * half)


def dots(u: np.ndarray, v: np.ndarray, period: float, phase: float, pixel: float) -> np.ndarray:
    """A square lattice of dots: -1 inside a dot, 1 outside; phase in periods along both axes."""
    u, v = u / period + phase, v / period + phase
    u, v = u - np.floor(u) - 0.5, v - np.floor(v) - 0.5
    return 2 * np.clip(0.5 + (np.sqrt(u * u + v * v) - 0.32) * period / pixel, 0, 1) - 1


def checks(u: np.ndarray, v: np.ndarray, period: float, phase: float, pixel: float) -> np.ndarray:
    """A chessboard of -1 and 1 with two squares a period; phase in periods along both axes."""
    return stripes(u, period, phase, pixel) * stripes(v, period, phase, pixel)


def noise(seed: int, xs: np.ndarray, ys: np.ndarray, region: tuple[slice, slice], pixel: float) -> np.ndarray:
    """Static band-limited noise of about unit variance, a sum of plane waves.

    xs [1, width] and ys [height, 1] are the whole axes of the frame: the trigonometry runs over them and is cut to the
    region afterwards, so that a crop equals a slice to the last bit.
    """
    rng = np.random.default_rng(seed)
    total = 0.0
    for _ in range(WAVES):
        frequency, angle = 1 / rng.uniform(0.1, 0.3), rng.uniform(0, np.pi)
        fx, fy = frequency * np.cos(angle), frequency * np.sin(angle)
        a = (2 * np.pi * (fx * xs + rng.uniform()))[:, region[1]]
        b = (2 * np.pi * fy * ys)[region[0]]
        wave = np.cos(a) * np.cos(b) - np.sin(a) * np.sin(b)
        total = total + wave * np.sinc(fx * pixel) * np.sinc(fy * pixel)
    return total * np.sqrt(2 / WAVES)
