"""The two loops: DPM-Solver++(2M) SDE in alpha space for stage 1, Euler on a flow for stage 2. They know no network.

The state is local, in the dtype of x. Source: docs/released-model.md 3.7, 3.8; DPM-Solver++: arXiv 2211.01095.
"""

import math
from collections.abc import Callable
from itertools import pairwise

from torch import Tensor

from .types import DrawNoise, OnStep, Velocity


def dpmpp_2m_sde(
    denoise: Callable[[Tensor, int], Tensor],
    x: Tensor,
    sqrt_alphas: Tensor,
    draw_noise: DrawNoise,
    on_step: OnStep | None = None,
) -> Tensor:
    """The denoised latent of the last of n steps over sqrt_alphas [n + 1] (ascending, 0 ... 1) from x.

    `denoise(x, i)` estimates the clean latent at step i; `on_step(i, denoised)` follows each. Draws one noise in the
    first step, two in each middle step (the first is thrown away, as released), none in the last.
    """
    a = [float(value) for value in sqrt_alphas]
    n, previous = len(a) - 1, None
    for i in range(n):
        denoised = denoise(x, i)
        if on_step is not None:
            on_step(i, denoised)
        if i == n - 1:
            return denoised
        if i > 0:
            draw_noise(x)
        noise = draw_noise(x)
        h = _half_log_snr(a[i + 1]) - _half_log_snr(a[i])
        target = denoised
        if i > 1:  # at i = 1 the step before was infinitely long, which makes the correction vanish
            r = (_half_log_snr(a[i]) - _half_log_snr(a[i - 1])) / h
            target = (1 + 1 / (2 * r)) * denoised - 1 / (2 * r) * previous
        decay = math.sqrt((1 - a[i + 1] ** 2) / (1 - a[i] ** 2)) * math.exp(-h)
        fresh = math.sqrt(1 - a[i + 1] ** 2) * math.sqrt(1 - math.exp(-2 * h))
        x = decay * x - (math.exp(-2 * h) - 1) * a[i + 1] * target + fresh * noise
        previous = denoised
    return x


def _half_log_snr(a: float) -> float:
    return -math.inf if a == 0 else math.log(a / math.sqrt(1 - a * a))


def euler_flow(
    velocity: Velocity,
    x: Tensor,
    times: Tensor,
    on_step: OnStep | None = None,
) -> Tensor:
    """Integrates dx/dt = velocity(x, t) from x over times [n + 1]; denoised of `on_step` is the estimate at t = 1."""
    grid = [float(t) for t in times]
    for i, (t, t_next) in enumerate(pairwise(grid)):
        v = velocity(x, t)
        if on_step is not None:
            on_step(i, x + (1 - t) * v)
        x = x + (t_next - t) * v
    return x
