"""Presentation times -> a constant frame rate: which decoded frame is shown at each instant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Protocol

import numpy as np
from av import VideoFrame, VideoStream

CONSTANT, KEEP = TIMINGS = ("constant", "keep")  # a film that has no constant rate: resampled, or as it is
DEFAULT_RATE = Fraction(25)  # of a stream that does not tell; FFmpeg's own default for pictures
UNEVEN = 0.1  # steps that differ by a tenth of a frame are variable timing
AGREES = 0.02  # a declared rate is taken at its word if the times come this close to it


@dataclass(frozen=True)
class Timing:
    """Frame `order[i]` of those decoded is shown at begin + i / fps (seconds); gaps: how many instants between the
    first and the last frame had none of their own; note: what is to be said, or "". times: of frames that are not shown
    at a constant rate, when each begins and the last ends, in seconds from the first; fps is then their average."""

    order: tuple[int, ...]
    fps: Fraction
    begin: Fraction
    gaps: int = 0
    note: str = ""
    times: tuple[Fraction, ...] | None = None


def declared_rates(stream: VideoStream) -> tuple[Fraction, Fraction]:
    """Frames per second as the file says, and the rate of its shortest steps as FFmpeg finds it.

    Standard rates that a coarse time base has blurred are exact again.
    """
    average = stream.average_rate or stream.guessed_rate or DEFAULT_RATE
    finest = stream.base_rate or average
    time_base = stream.time_base or 1 / average
    return _sharpen(average, time_base), _sharpen(finest, time_base)


class FitTiming(Protocol):
    """`fit_constant_rate` or `fit_own_times`."""

    def __call__(
        self, pts: Sequence[int | None], rates: tuple[Fraction, Fraction], time_base: Fraction, last: int = 0, /
    ) -> Timing: ...


def fit_constant_rate(
    pts: Sequence[int | None], rates: tuple[Fraction, Fraction], time_base: Fraction, last: int = 0
) -> Timing:
    """pts: of the decoded frames in the order in which the decoder gave them, in units of time_base (seconds); rates:
    `declared_rates`; last: for how long the last frame is shown, 0 where that is not known (it plays no part here).

    Times that are not known or not in order say nothing: all frames, at the declared rate. Where frames of an even rate
    are missing, the nearest in time stand in. Even times (up to rounding) have the declared rate if it agrees with
    them. Any other timing is resampled to its average.
    """
    times, everything = _fill_unknown(pts, rates[0], time_base), tuple(range(len(pts)))
    begin = times[0] * time_base if times else Fraction(0)
    if len(times) < 2:
        return Timing(everything, rates[0], begin)
    steps = np.diff(np.array(times, dtype=np.float64))
    if steps.min() <= 0:
        declared = f"{float(rates[0]):.6g} fps"
        note = f"its times are not in order: all frames are kept, as decoded, at the declared {declared}"
        return Timing(everything, rates[0], begin, note=note)
    for rate in rates:
        if (order := _stand_in(steps, rate, time_base)) is not None:
            return Timing(order, rate, begin, gaps=len(order) - len(pts))
    if np.ptp(steps) <= max(1, UNEVEN * steps.mean()):
        return Timing(everything, _even_rate(times, rates[0], time_base), begin)
    fps = _round_rate(len(steps) / ((times[-1] - times[0]) * time_base))
    order = _nearest(np.array(times, dtype=np.float64), np.linspace(times[0], times[-1], len(times)))
    return Timing(order, fps, begin, note=f"variable frame rate, resampled to its average of {float(fps):.3f} fps")


def fit_own_times(
    pts: Sequence[int | None], rates: tuple[Fraction, Fraction], time_base: Fraction, last: int = 0
) -> Timing:
    """`fit_constant_rate` for times that are constant or tell nothing; of any other, every frame at its own time, the
    last for `last` units of time_base (their mean where that is 0)."""
    fitted = fit_constant_rate(pts, rates, time_base)
    ticks = _fill_unknown(pts, rates[0], time_base)
    is_constant = not fitted.gaps and not fitted.note
    if is_constant or any(later <= tick for tick, later in pairwise(ticks)):
        return fitted
    span, steps = ticks[-1] - ticks[0], len(ticks) - 1
    ends = [*ticks, ticks[-1] + (last or round(span / steps))]
    times = tuple((tick - ticks[0]) * time_base for tick in ends)
    fps, everything = _round_rate(steps / (span * time_base)), tuple(range(len(pts)))
    note = f"variable frame rate, {float(fps):.3f} fps on average; every frame keeps its time"
    return Timing(everything, fps, fitted.begin, note=note, times=times)


def frame_ticks(frame: VideoFrame) -> int:
    """For how many units of its time base a decoded frame is shown; 0 where that is not known."""
    return getattr(frame, "duration", None) or 0  # PyAV 14 does not tell it


def _fill_unknown(pts: Sequence[int | None], declared: Fraction, time_base: Fraction) -> list[int]:
    """The same with every None a declared frame's duration after the one before (or, at the start, before the one
    after); [] where none is known."""
    step = round(1 / (declared * time_base))
    first = next((i for i, time in enumerate(pts) if time is not None), None)
    if first is None:
        return []
    times = [pts[first] - step * (first - i) for i in range(first)]
    for time in pts[first:]:
        times.append(times[-1] + step if time is None else time)
    return times


def _stand_in(steps: np.ndarray, rate: Fraction, time_base: Fraction) -> tuple[int, ...] | None:
    """Which frame to show at each instant of this rate where the steps between frames are whole numbers of its frames
    and some instants have none: lost, or not stored because nothing moved. None for other timing, and where most are
    missing."""
    frame = float(1 / (rate * time_base))
    counts = np.rint(steps / frame)
    rounding = max(0 if _whole_ticks(rate, time_base) else 1, UNEVEN * frame)
    uneven = np.abs(steps - counts * frame).max() > rounding
    if uneven or counts.max() < 2 or counts.min() < 1 or np.mean(counts == 1) < 0.5:
        return None
    shown = np.concatenate([[0], np.cumsum(counts)])
    return _nearest(shown, np.arange(shown[-1] + 1)) if shown[-1] < 2 * len(shown) else None


def _even_rate(times: Sequence[int], declared: Fraction, time_base: Fraction) -> Fraction:
    """The declared rate if the evenly spaced times agree with it; else what they are."""
    steps, span = len(times) - 1, (times[-1] - times[0]) * time_base
    slack = max(AGREES * steps, 0 if _whole_ticks(declared, time_base) else declared * time_base)
    if abs(declared * span - steps) < slack:
        return declared
    return _sharpen(_round_rate(steps / span), time_base)


def _nearest(times: np.ndarray, instants: np.ndarray) -> tuple[int, ...]:
    """For each instant which of the ascending times is nearest, the earlier one in a tie."""
    return tuple(np.searchsorted((times[1:] + times[:-1]) / 2, instants).tolist())


def _whole_ticks(rate: Fraction, time_base: Fraction) -> bool:
    """Whether a frame lasts whole ticks of the time base, so that no time was rounded."""
    return (1 / (rate * time_base)).denominator == 1


def _round_rate(rate: Fraction) -> Fraction:
    """A measured rate as a fraction of small numbers."""
    return rate.limit_denominator(1001) if rate >= 1 else 1 / (1 / rate).limit_denominator(1001)


def _sharpen(rate: Fraction, time_base: Fraction) -> Fraction:
    """The rate n or n * 1000/1001 that this one is within 1e-4, if the time base cannot tell them apart.

    Left alone: a rate whose frames last whole ticks, and one in whole hundredths, which somebody has written down.
    """
    if _whole_ticks(rate, time_base) or 100 % rate.denominator == 0:
        return rate
    for standard in (Fraction(round(rate)), Fraction(round(rate * 1001 / 1000) * 1000, 1001)):
        if abs(standard / rate - 1) < 1e-4:
            return standard
    return rate
