"""When each frame of a file that is written is shown: at a constant rate, or at times of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

from ..errors import InputError

FINEST = 1_000_000  # ticks a second; beyond it the ticks of a long frame no longer fit into the 32 bits of an mp4
COARSE = Fraction(1, 90_000)  # then taken instead: MPEG's own clock


@dataclass(frozen=True)
class Clock:
    """Frame i is shown from tick ticks[i] to ticks[i + 1] of time_base seconds; without ticks: from i to i + 1."""

    rate: Fraction
    time_base: Fraction
    ticks: tuple[int, ...] | None = None

    def tick(self, frame: int) -> int:
        """When it begins. Raises InputError for a frame that has no time."""
        if self.ticks is None:
            return frame
        if frame >= len(self.ticks):
            raise InputError(f"there are {len(self.ticks) - 1} times for more frames than that")
        return self.ticks[frame]

    def part(self, frame: int) -> Clock:
        """The clock of a file that begins with this frame."""
        if self.ticks is None:
            return self
        begin = self.tick(frame)
        return replace(self, ticks=tuple(tick - begin for tick in self.ticks[frame:]))

    def seconds(self, frame: int) -> Fraction:
        """From the beginning to that of the frame, which is the end of the one before."""
        return self.tick(frame) * self.time_base

    def duration(self, tick: int) -> int:
        """Of the frame that begins there, in ticks."""
        at = self.ticks.index(tick)
        return self.ticks[at + 1] - tick


def make_clock(rate: Fraction, times: Sequence[Fraction] | None = None) -> Clock:
    """times: when each frame begins and, one more, when the last ends, in seconds from the first. They are kept as they
    are up to a million ticks a second. Raises InputError for times that do not ascend from 0."""
    if times is None:
        return Clock(rate, 1 / rate)
    finest = math.lcm(*(time.denominator for time in times))
    time_base = Fraction(1, finest) if finest <= FINEST else COARSE
    ticks = tuple(round(time / time_base) for time in times)
    if len(ticks) < 2 or ticks[0] != 0 or any(later <= tick for tick, later in pairwise(ticks)):
        raise InputError("the times of the frames must ascend from 0, and one more say when the last frame ends")
    return Clock(rate, time_base, ticks)
