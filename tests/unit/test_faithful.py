"""Drift of a refined clip from its draft, and what takes colour and low frequencies back without touching detail."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from flashvideo_core.faithful import (
    GRID_ROWS,
    MATCHES,
    Drift,
    average_cells,
    choose_grid,
    make_thumbnails,
    match_chunks,
    match_draft,
)

TINT = torch.tensor([0.08, 0.0, -0.06])


def make_draft(frames: int = 6) -> Tensor:
    """A soft clip [F, 64, 96, 3] that moves, in 0.2..0.8."""
    generator = torch.Generator().manual_seed(0)
    field = F.interpolate(torch.rand(frames + 3, 3, 8, 12, generator=generator), (64, 96), mode="bilinear")
    return 0.2 + 0.6 * field.unfold(0, 4, 1).mean(-1).permute(0, 2, 3, 1)


def refine(draft: Tensor) -> Tensor:
    """The draft four times as large, with detail that has no low frequencies: a checkerboard."""
    large = draft.repeat_interleave(4, 1).repeat_interleave(4, 2)
    rows, columns = torch.arange(large.shape[1])[:, None], torch.arange(large.shape[2])
    return large + 0.1 * ((rows + columns) % 2 - 0.5)[..., None]


def detail(frames: Tensor) -> Tensor:
    """What is left of frames without the mean of each 8 pixels squared."""
    planar = frames.permute(0, 3, 1, 2)
    return planar - F.interpolate(F.avg_pool2d(planar, 8), planar.shape[2:], mode="nearest")


@pytest.mark.parametrize("match", MATCHES)
def test_a_clip_without_drift_is_left_alone(match):
    draft = make_draft()
    clip = refine(draft)
    drift = match_draft(matched := clip.clone(), draft, match)
    assert (matched - clip).abs().max() < 1e-5
    assert max(drift.color, drift.low, drift.worst_low) < 1e-3 and not drift.is_large


def test_none_changes_no_bit_of_a_clip_that_drifts():
    clip = refine(make_draft()) + TINT
    drift = match_draft(matched := clip.clone(), make_draft(), "none")
    assert torch.equal(matched, clip)
    assert drift.color == pytest.approx(255 * 0.08, abs=0.01)
    assert drift.low == pytest.approx(255 * float(TINT.square().mean().sqrt()), abs=0.01)
    assert drift.is_large


@pytest.mark.parametrize("match", ["color", "low"])
def test_a_tinted_clip_is_repaired_and_its_detail_stays(match):
    draft = make_draft()
    clip = refine(draft)
    drift = match_draft(matched := clip + TINT, draft, match)
    assert drift.color < 0.01 and drift.low < 0.01
    assert (matched - clip).abs().max() < 1 / 255
    assert (detail(matched) - detail(clip)).abs().max() < 1e-3


def test_low_frequencies_repair_what_differs_from_part_to_part():
    draft = make_draft()
    ramp = 0.1 * torch.linspace(-1, 1, 384)[:, None]  # mean 0, so the mean colour says nothing
    clip = refine(draft) + ramp
    of_color = match_draft(clip.clone(), draft, "color")
    of_low = match_draft(matched := clip.clone(), draft, "low")
    assert of_color.low == pytest.approx(match_draft(clip, draft, "none").low, rel=0.02)
    assert of_low.low < 0.05 * of_color.low
    assert (detail(matched) - detail(clip)).abs().max() < 4e-3  # the field is smooth, and not flat


def test_the_added_colour_changes_slowly():
    """A frame that is off by itself moves the frames around it by a fraction: nothing flickers."""
    draft = make_draft(12)
    clip = refine(draft)
    clip[8] += 0.1
    match_draft(matched := clip.clone(), draft, "color")
    added = (matched - clip).mean((1, 2, 3))
    assert added[:8].abs().max() < 1e-5
    assert added.diff().abs().max() < 0.1 / 8


def test_the_worst_frame_is_named():
    draft = make_draft()
    clip = refine(draft)
    clip[2] += 0.1
    drift = match_draft(clip, draft, "none")
    assert drift.worst_frame == 2
    assert (drift.worst_low, drift.worst_color) == (pytest.approx(25.5, abs=0.1), pytest.approx(25.5, abs=0.1))
    assert drift.low == pytest.approx(25.5 / 6, abs=0.1)


@pytest.mark.parametrize("match", MATCHES)
@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_size_of_the_chunks_changes_no_bit(match, size):
    draft = make_draft()
    clip = refine(draft) + TINT * torch.linspace(0.5, 1.5, 6)[:, None, None, None]
    whole = next(match_chunks([(clip, draft)], match))
    parts = list(match_chunks(zip(clip.split(size), draft.split(size), strict=True), match))
    for i, wanted in enumerate(whole):
        assert torch.equal(torch.cat([part[i] for part in parts]), wanted)


def test_a_longer_draft_gives_its_first_frames():
    draft = make_draft(7)
    assert match_draft(refine(draft[:5]), draft, "none").low < 1e-3


@pytest.mark.parametrize(("size", "grid"), [((1072, 1920), (16, 29)), ((64, 96), (16, 24)), ((8, 8), (8, 8))])
def test_cells_are_as_high_as_wide_and_no_smaller_than_a_pixel(size, grid):
    assert GRID_ROWS == 16 and choose_grid(size) == grid
    assert average_cells(torch.zeros(1, *size, 3), grid).shape == (1, 3, *grid)


@pytest.mark.parametrize("match", MATCHES)
def test_thumbnails_stand_for_the_draft(match):
    draft = make_draft()
    one, other = (refine(draft) + TINT for _ in range(2))
    assert match_draft(one, draft, match) == match_draft(other, make_thumbnails(draft, (256, 384)), match)
    assert torch.equal(one, other)


def test_a_drift_in_words():
    drift = Drift(1.24, 2.0, 3.0, 4.56, 7)
    assert str(drift) == "1.2 in colour, 3.0 in low frequencies (worst frame, 7: 2.0 in colour, 4.6 in low frequencies)"
