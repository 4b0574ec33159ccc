"""Times of frames -> a constant rate: exact where the file tells it, and the same when frames are missing."""

from fractions import Fraction
from itertools import pairwise
from types import SimpleNamespace

import pytest

from flashvideo_core.media.timing import declared_rates, fit_constant_rate

MS = Fraction(1, 1000)
EIGHT = (Fraction(8), Fraction(8))


def rates(average, base=None, time_base=MS):
    base = base or average
    stream = SimpleNamespace(average_rate=average, base_rate=base, guessed_rate=None, time_base=time_base)
    return declared_rates(stream)


@pytest.mark.parametrize(
    ("average", "time_base", "exact"),
    [
        (Fraction(19001, 317), MS, Fraction(60000, 1001)),  # what FFmpeg makes of 16,683,333 ns
        (Fraction(983, 41), MS, Fraction(24000, 1001)),
        (Fraction(29991, 1000), MS, Fraction(29991, 1000)),  # no standard rate
        (Fraction(2997, 100), MS, Fraction(2997, 100)),  # written down so
        (Fraction(19001, 317), Fraction(317, 19001), Fraction(19001, 317)),  # a frame is a tick: nothing was rounded
        (Fraction(1, 3600), Fraction(1, 16384), Fraction(1, 3600)),
        (None, MS, Fraction(25)),
    ],
)
def test_declared_rates_are_exact(average, time_base, exact):
    assert rates(average, time_base=time_base) == (exact, exact)


@pytest.mark.parametrize("fps", [Fraction(60000, 1001), Fraction(120), Fraction(8), Fraction(1, 3600), Fraction(1000)])
@pytest.mark.parametrize("count", [2, 3, 50])
def test_times_rounded_to_milliseconds_keep_the_declared_rate(fps, count):
    timing = fit_constant_rate([round(1000 * i / fps) for i in range(count)], (fps, fps), MS)
    assert (timing.order, timing.fps, timing.gaps, timing.note) == (tuple(range(count)), fps, 0, "")


def test_even_times_that_contradict_the_declared_rate_are_believed():
    timing = fit_constant_rate([0, 40, 80, 120], EIGHT, MS)
    assert timing.fps == 25 and timing.order == (0, 1, 2, 3)


@pytest.mark.parametrize(("lost", "order"), [({2}, (0, 1, 1, 2, 3, 4)), ({2, 3}, (0, 1, 1, 2, 2, 3))])
@pytest.mark.parametrize("step", [1, 125])
def test_lost_frames_do_not_change_the_rate(lost, order, step):
    """The nearest in time stand in, the earlier one in a tie; a tick may be a whole frame (AVI)."""
    pts = [step * i for i in range(len(order)) if i not in lost]
    timing = fit_constant_rate(pts, EIGHT, Fraction(1, 8 * step))
    assert (timing.fps, timing.order, timing.gaps, timing.note) == (8, order, len(lost), "")


def test_frames_not_stored_are_found_at_the_rate_of_the_shortest_steps():
    """An animation keeps a picture that does not change once, for longer; its average is no rate of it."""
    timing = fit_constant_rate([0, 100, 200, 400, 500], (Fraction(50, 6), Fraction(10)), MS)
    assert timing.fps == 10 and timing.order == (0, 1, 2, 2, 3, 4)


def test_other_timing_is_resampled_to_its_average():
    timing = fit_constant_rate([0, 40, 80, 120, 160, 200, 400, 600, 800], (Fraction(1800, 121), Fraction(25)), MS)
    assert timing.fps == 10 and timing.order == (0, 2, 5, 5, 6, 6, 7, 7, 8) and "average of 10.000 fps" in timing.note
    slow = fit_constant_rate([0, 10_000, 5_000_000], EIGHT, MS)
    assert slow.fps == Fraction(1, 2500)
    mostly_missing = fit_constant_rate([0, 125, 250, 60 * 125], EIGHT, MS)
    assert "variable" in mostly_missing.note and len(mostly_missing.order) == 4


@pytest.mark.parametrize("pts", [[1, 3, 4, 2, 5], [0, 1, 2, 0, 1], [3, 3, 3], [None, None, None]])
def test_times_out_of_order_or_unknown_keep_all_frames_as_decoded(pts):
    timing = fit_constant_rate(pts, EIGHT, Fraction(1, 8))
    assert timing.fps == 8 and timing.order == tuple(range(len(pts)))
    assert ("not in order" in timing.note) == (pts[0] is not None)


def test_unknown_times_at_the_start_are_before_the_first_known():
    timing = fit_constant_rate([None, None, 0, 125, 250], EIGHT, MS)
    assert timing.fps == 8 and timing.order == (0, 1, 2, 3, 4) and timing.begin == Fraction(-1, 4)


@pytest.mark.parametrize("pts", [[], [7], [None]])
def test_one_frame_has_the_declared_rate(pts):
    timing = fit_constant_rate(pts, EIGHT, MS)
    assert timing.fps == 8 and timing.order == tuple(range(len(pts)))


def test_what_is_shown_never_goes_back():
    timing = fit_constant_rate([0, 30, 90, 100, 110, 400, 410, 900], EIGHT, MS)
    assert all(earlier <= later for earlier, later in pairwise(timing.order))
