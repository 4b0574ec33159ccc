"""Noise schedules and time grids, shared by the samplers and the training losses.

`sqrt_alpha` (a) is the signal's share of a variance-preserving mix: x = a z + sqrt(1 - a^2) noise.
Tables are computed on the CPU once per call; nothing is cached. Source: docs/released-model.md 3.6-3.8.
"""

import torch
from torch import Tensor

from .errors import InputError

NUM_TRAIN_TIMESTEPS = 1000


def _alphas_cumprod() -> Tensor:
    betas = torch.linspace(0.00085**0.5, 0.0120**0.5, NUM_TRAIN_TIMESTEPS, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, dim=0)


def _sqrt(x: Tensor) -> Tensor:
    """float32 root of float32(x), rounded alike on every CPU (torch's float32 sqrt is one bit off on AVX2)."""
    return x.float().double().sqrt().float()


def _rescale(a: Tensor) -> Tensor:
    """Moves the last entry (most noise) to exactly zero and keeps the first: zero terminal SNR."""
    first, last = a[0].clone(), a[-1].clone()
    return (a - last) * (first / (first - last))


def zero_snr_sqrt_alphas() -> Tensor:
    """[1000] float32 on the CPU, index = timestep; 0.9996 at 0, exactly 0 at 999."""
    return _rescale(_sqrt(_alphas_cumprod()))


def stage1_schedule(steps: int = 51) -> tuple[list[int], Tensor]:
    """Timesteps (descending from 999) and sqrt_alphas [steps + 1] in sampling order.

    The first sqrt_alpha is 0, the last, appended one is 1. As released, the zero-SNR rescale uses the
    end points of the chosen timesteps, so the values differ a little from the 1000-entry table.
    Raises InputError unless 2 <= steps <= 999.
    """
    if not 2 <= steps <= 999:
        raise InputError(f"steps is {steps}; stage 1 needs 2 to 999")
    timesteps = [int(999 - 999 * k / steps) for k in range(steps)]
    rescaled = _rescale(_sqrt(_alphas_cumprod()[timesteps[::-1]])).flip(0)
    return timesteps, torch.cat([rescaled, torch.ones(1)])


def stage2_times(steps: int = 4, shift: float = 2.5) -> Tensor:
    """[steps + 1] float32 times from 0 (degraded) to 1 (clean); the network's timestep is 1000 (1 - t).

    Raises InputError for fewer than one step or a shift that is not positive.
    """
    if steps < 1:
        raise InputError(f"steps is {steps}; stage 2 needs at least 1")
    if not shift > 0:
        raise InputError(f"shift is {shift}; it must be positive")
    return shift_times(torch.arange(steps + 1, dtype=torch.float64) / steps, shift).float()


def shift_times(t: Tensor, shift: float) -> Tensor:
    """Times 0..1 of stage 2 drawn towards 0, where its evaluations lie, by a shift above 1; 0 and 1 stay."""
    rest = 1 - t
    return 1 - shift * rest / (1 + (shift - 1) * rest)


def add_noise(z: Tensor, noise: Tensor, sqrt_alpha: Tensor | float) -> Tensor:
    """a z + sqrt(1 - a^2) noise; sqrt_alpha is a number or broadcasts to z."""
    a = as_factor(sqrt_alpha, z)
    return a * z + (1 - a * a).sqrt() * noise


def velocity(z: Tensor, noise: Tensor, sqrt_alpha: Tensor | float) -> Tensor:
    """The v that stage 1 predicts: a noise - sqrt(1 - a^2) z."""
    a = as_factor(sqrt_alpha, z)
    return a * noise - (1 - a * a).sqrt() * z


def velocity_to_denoised(x: Tensor, v: Tensor, sqrt_alpha: Tensor | float) -> Tensor:
    """The inverse of both: z = a x - sqrt(1 - a^2) v."""
    a = as_factor(sqrt_alpha, x)
    return a * x - (1 - a * a).sqrt() * v


def as_factor(sqrt_alpha: Tensor | float, x: Tensor) -> Tensor:
    """On the device and in the dtype of x. A number is written there, where a copy would wait for the device's work."""
    if isinstance(sqrt_alpha, Tensor):
        return sqrt_alpha.to(x)
    return torch.full((), sqrt_alpha, dtype=x.dtype, device=x.device)


def check_noise_step(ref_step: int) -> None:
    """Raises InputError unless 0 <= ref_step <= 999."""
    if not 0 <= ref_step < NUM_TRAIN_TIMESTEPS:
        raise InputError(f"noise step is {ref_step}; it must be 0 to {NUM_TRAIN_TIMESTEPS - 1}")
