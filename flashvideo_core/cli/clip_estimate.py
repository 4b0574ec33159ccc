"""The time left of a whole clip: what its phases cost, and how long those that have run took for that."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

KINDS = ({"stage1", "stage2"}, {"draft_decode", "handoff", "decode"})  # phases of the same kind of network


class Remaining(NamedTuple):
    """Of a phase or a clip: the share that is done, 0 to 1, the seconds that it took, and those that are left."""

    share: float
    elapsed: float
    left: float


@dataclass
class ClipEstimate:
    """work: what each phase of the clip costs, in their order, in one unit for all. start: seconds of a clock.

    rates: seconds for a unit of work, of the phases that have begun in this clip or in one before.
    """

    work: Mapping[str, float]
    start: float
    rates: dict[str, float] = field(default_factory=dict)

    def estimate(self, phase: str, own: Remaining, done: float, now: float) -> Remaining | None:
        """The clip, while a phase is as far as `own`, of which this run did a share `done`; None: the phase is not the
        clip's. Phases that were to come before it are over, or were not needed.
        """
        if phase not in self.work:
            return None
        self.rates[phase] = own.elapsed / (done * self.work[phase])
        phases = list(self.work)
        left = own.left + sum(self.work[later] * self._find_rate(later) for later in phases[phases.index(phase) + 1 :])
        elapsed = now - self.start
        return Remaining(elapsed / (elapsed + left) if left else 1.0, elapsed, left)

    def _find_rate(self, phase: str) -> float:
        """The phase's own, else that of its kind, else that of all."""
        kin = next(kind for kind in (*KINDS, {phase}) if phase in kind)
        known = {phase} & self.rates.keys() or kin & self.rates.keys() or self.rates.keys()
        return sum(self.rates[name] for name in known) / len(known)
