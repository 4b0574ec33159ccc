"""Evaluations of stage 1 that are saved: where little changes, the last estimates of the clean latent are used again.

EasyCache's rule (arXiv 2507.02860, section 3.3): while the output has been changing by `rate` times the change of the
input, the change of both that has gone by since the last evaluation tells how far the kept output is off; below a
threshold, an evaluation is saved. The first ones, which decide what the clip shows, never are. Two things differ. Kept
is not the difference of output and input but the denoised latent: stage 1 adds fresh noise in every step, which is all
in its v and hardly in the denoised. And both branches of guidance are saved together or not at all: an old estimate
beside a new one would be amplified by the scale.

The state is that of one sampling.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .schedule import as_factor, velocity_to_denoised, zero_snr_sqrt_alphas
from .types import Branches

WARM_UP = 5  # evaluations; they decide what the clip shows


@dataclass
class KeptBranch:
    """A branch where it was evaluated last: x, the denoised latent there, and d|denoised| / d|x| (None: not known)."""

    x: Tensor
    denoised: Tensor
    rate: Tensor | None = None


@dataclass
class StepCache:
    """The branches by name, the last input and what was decided there, the relative change since the last evaluation.

    Branches are known by anything that stays theirs through a sampling.
    """

    threshold: float
    warm_up: int = WARM_UP
    branches: dict[Hashable, KeptBranch] = field(default_factory=dict)
    x: Tensor | None = None
    inputs: int = 0
    saves: bool = False
    change: float = 0.0

    def can_reuse(self, x: Tensor, names: Sequence[Hashable]) -> bool:
        """Whether these branches may keep their estimates at x. Asked again at the same x, it answers alike."""
        known = [self.branches[name] for name in names if name in self.branches]
        are_known = len(known) == len(names) and all(branch.rate is not None for branch in known)
        if self.x is None or not torch.equal(x, self.x):
            is_comparable = are_known and x.shape == self.x.shape
            self.saves = is_comparable and self.count_change(x, known) < self.threshold and self.inputs >= self.warm_up
            self.x, self.inputs = x, self.inputs + 1
        return self.saves and are_known

    def count_change(self, x: Tensor, kept: Sequence[KeptBranch]) -> float:
        """Adds how much the output of the branch that changes most has changed on the way to x, relative to it."""
        moved = mean_size(x - self.x)
        self.change += float(max(branch.rate * moved / mean_size(branch.denoised) for branch in kept))
        return self.change

    def keep(self, name: Hashable, x: Tensor, denoised: Tensor) -> None:
        """What an evaluation of a branch gave."""
        before, self.change = self.branches.get(name), 0.0
        rate = None if before is None else mean_size(denoised - before.denoised) / mean_size(x - before.x)
        self.branches[name] = KeptBranch(x, denoised, rate)


def cache_steps(branches: Branches, threshold: float) -> Branches:
    """Branches of v-prediction that are evaluated only where the cache cannot stand in. Made for one sampling."""
    cache, table = StepCache(threshold), zero_snr_sqrt_alphas()

    def evaluate(x: Tensor, timestep: float, names: Sequence[str]) -> list[Tensor]:
        a = float(table[round(timestep)])
        if cache.can_reuse(x, names):
            return [denoised_to_velocity(x, cache.branches[name].denoised, a) for name in names]
        velocities = branches(x, timestep, names)
        for name, v in zip(names, velocities, strict=True):
            cache.keep(name, x, velocity_to_denoised(x, v, a))
        return velocities

    return evaluate


def denoised_to_velocity(x: Tensor, denoised: Tensor, sqrt_alpha: float) -> Tensor:
    """The v that points from x at the denoised latent: (a x - z) / sqrt(1 - a^2)."""
    a = as_factor(sqrt_alpha, x)
    return (a * x - denoised) / (1 - a * a).sqrt()


def mean_size(x: Tensor) -> Tensor:
    """A number on the device of x, where a division by zero gives no change that is below a threshold."""
    return x.abs().mean()
