"""The two loops: DPM-Solver++(2M) SDE in alpha space for stage 1, Euler on a flow for stage 2. They know no network.

The state is local, in the dtype of x. `on_state` gets it before each evaluation; from such a state, as `resume`, the
same bits follow. Source: docs/released-model.md 3.7, 3.8; DPM-Solver++: arXiv 2211.01095.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .types import DrawNoise, OnStep, Velocity


@dataclass(frozen=True)
class SolverState:
    """What a loop goes on from: x before evaluation `step` (from 0), and the estimate of the one before it, where the
    solver looks back."""

    step: int
    x: Tensor
    previous: Tensor | None = None

    def to(self, device: torch.device) -> "SolverState":
        """With its tensors on a device."""
        previous = None if self.previous is None else self.previous.to(device)
        return SolverState(self.step, self.x.to(device), previous)


OnState = Callable[[SolverState], None]
"""on_state(state) is called before each evaluation."""


def dpmpp_2m_sde(
    denoise: Callable[[Tensor, int], Tensor],
    x: Tensor,
    sqrt_alphas: Tensor,
    draw_noise: DrawNoise,
    on_step: OnStep | None = None,
    resume: SolverState | None = None,
    on_state: OnState | None = None,
) -> Tensor:
    """The denoised latent of the last of n steps over sqrt_alphas [n + 1] (ascending, 0 ... 1) from x.

    `denoise(x, i)` estimates the clean latent at step i; `on_step(i, denoised)` follows each. Draws one noise in the
    first step, two in each middle step (the first is thrown away, as released), none in the last. With `resume` the
    noise of the steps before it is drawn, too, so that draw_noise need not be kept.
    """
    a = [float(value) for value in sqrt_alphas]
    state = resume or SolverState(0, x)
    n, x, previous = len(a) - 1, state.x, state.previous
    for _ in range(2 * state.step - 1):
        draw_noise(x)
    for i in range(state.step, n):
        if on_state is not None:
            on_state(SolverState(i, x, previous))
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
    resume: SolverState | None = None,
    on_state: OnState | None = None,
) -> Tensor:
    """Integrates dx/dt = velocity(x, t) from x over times [n + 1]; denoised of `on_step` is the estimate at t = 1."""
    grid = [float(t) for t in times]
    state = resume or SolverState(0, x)
    x = state.x
    for i in range(state.step, len(grid) - 1):
        if on_state is not None:
            on_state(SolverState(i, x))
        t, t_next = grid[i], grid[i + 1]
        v = velocity(x, t)
        if on_step is not None:
            on_step(i, x + (1 - t) * v)
        x = x + (t_next - t) * v
    return x
