"""Windows over a latent: what they cover, what they weigh, and that one of them is the whole."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flashvideo_core.errors import InputError
from flashvideo_core.latent_windows import LatentWindows, draw_in_blocks, map_windows, ramp_weights
from flashvideo_core.sampling import make_draw_noise

SIDE = st.integers(1, 40)
LATENT = st.tuples(SIDE, SIDE, SIDE)


@st.composite
def windows_of(draw):
    """Windows of any size and overlap, with an even number of rows and columns."""
    sizes, overlaps = [], []
    for unit in (1, 2, 2):
        size = draw(st.none() | st.integers(1, 10).map(lambda n, unit=unit: n * unit))
        overlaps.append(0 if size is None else draw(st.integers(0, size // unit - 1)) * unit)
        sizes.append(size)
    return LatentWindows(tuple(sizes), tuple(overlaps))


@settings(deadline=None, max_examples=60)
@given(windows_of(), LATENT)
def test_windows_cover_the_latent(windows, latent):
    """All of one size, none beyond a border, neighbours sharing the overlap, and the weights of a point make 1."""
    for ranges, side, size, overlap in zip(
        windows.split(latent), latent, windows.fit(latent), windows.overlap, strict=True
    ):
        assert ranges[0][0] == 0 and ranges[-1][1] == side
        assert {stop - start for start, stop in ranges} == {size}
        assert all(left[1] - right[0] >= overlap and left[0] < right[0] for left, right in pairwise(ranges))
        for context in (0, 1):
            total = torch.zeros(side)
            for (start, stop), weights in zip(ranges, ramp_weights(ranges, context), strict=True):
                assert len(weights) == size and (weights >= 0).all()
                total[start:stop] += weights
            torch.testing.assert_close(total, torch.ones(side))


@settings(deadline=None, max_examples=30)
@given(windows_of(), st.tuples(*[st.integers(1, 16)] * 3))
def test_a_function_of_each_point_sees_no_windows(windows, latent):
    x = torch.randn(2, 3, *latent, generator=torch.Generator().manual_seed(0))
    seen = []
    out = map_windows(torch.sin, x, windows, on_window=lambda done, total: seen.append((done, total)))
    torch.testing.assert_close(out, x.sin())
    count = windows.count(latent)
    assert seen == ([] if count == 1 else [(i + 1, count) for i in range(count)])


def test_one_window_is_the_whole():
    """Bit for bit, and the function gets the very latent."""
    x = torch.randn(1, 16, 3, 4, 6)
    for size in ((3, 4, 6), (9, 8, 8), (None, None, None)):
        assert map_windows(lambda part: part * 0.3, x, LatentWindows(size, (2, 2, 2))).equal(x * 0.3)


def test_ramps_are_linear_over_what_is_shared():
    left, right = ramp_weights([(0, 6), (2, 8)])
    torch.testing.assert_close(left, torch.tensor([1, 1, 0.875, 0.625, 0.375, 0.125]))
    torch.testing.assert_close(right, left.flip(0))


def test_a_window_inside_begins_with_context():
    """Of its first frame the window before has all the say, as far as they share it."""
    left, right = ramp_weights([(0, 6), (2, 8)], context=1)
    torch.testing.assert_close(right, torch.tensor([0, 1 / 6, 1 / 2, 5 / 6, 1, 1]))
    torch.testing.assert_close(left, torch.tensor([1, 1, 1, 5 / 6, 1 / 2, 1 / 6]))
    assert all(weights.equal(torch.ones(3)) for weights in ramp_weights([(0, 3), (3, 6)], context=1))
    assert [weights.tolist() for weights in ramp_weights([(0, 2), (1, 3)], context=1)] == [[1, 1], [0, 1]]


def test_windows_start_between_tokens():
    rows = LatentWindows((None, 4, 4), (0, 2, 0)).split((1, 14, 10))[1]
    assert rows == [(0, 4), (2, 6), (4, 8), (6, 10), (8, 12), (10, 14)]
    assert LatentWindows((None, 4, 4), (0, 2, 0)).split((1, 7, 3))[1:] == ([(0, 4), (2, 6), (3, 7)], [(0, 3)])


@pytest.mark.parametrize(("size", "overlap"), [((0, 2, 2), (0, 0, 0)), ((4, 2, 2), (4, 0, 0)), ((4, 4, 4), (0, -2, 0))])
def test_an_impossible_overlap_is_refused(size, overlap):
    with pytest.raises(InputError, match="overlap by"):
        LatentWindows(size, overlap)


@pytest.mark.parametrize("frames", [3, 4])
def test_noise_of_a_frame_does_not_depend_on_the_clips_length(frames):
    def draw(length, seed=5):
        return draw_in_blocks(make_draw_noise(seed), torch.empty(1, 16, length, 2, 3), frames)

    longest = draw(11)
    for length in range(frames, 11):
        assert draw(length).equal(longest[:, :, :length])
    assert len({float(longest[0, 0, i, 0, 0]) for i in range(11)}) == 11
    for length in range(1, frames + 1):  # as without windows
        assert draw(length).equal(make_draw_noise(5)(torch.empty(1, 16, length, 2, 3)))


def test_items_of_a_batch_keep_their_own_noise():
    both = draw_in_blocks(make_draw_noise(5, 2), torch.empty(2, 16, 7, 2, 2), 3)
    alone = draw_in_blocks(make_draw_noise(6), torch.empty(1, 16, 7, 2, 2), 3)
    assert both[1:].equal(alone)
