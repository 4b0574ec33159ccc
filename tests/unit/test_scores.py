"""What `evaluate` asks for, and its judges on answers whose truth is known."""

import pytest
import torch

from flashvideo_core.text import tokenize
from flashvideo_core.tiny.captions import build_vocabulary
from flashvideo_core.tiny.detectors import detect
from flashvideo_core.tiny.held_out import sample_held_out
from flashvideo_core.tiny.scene import is_holdout
from flashvideo_core.tiny.scores import (
    downsample,
    name_attributes,
    render_frames,
    score_against,
    score_drafts,
    score_refined,
    upsample,
)


def test_prompts_are_distinct_held_out_combinations_that_say_them():
    asked = sample_held_out(64, 1)
    combinations = [(a.scene.color, a.scene.shape, a.scene.motion) for a in asked]
    assert len(set(combinations)) == 64 and all(is_holdout(*c) for c in combinations)
    assert len({a.prompt for a in asked}) == 64
    assert not set(tokenize(" ".join(a.prompt for a in asked))) - set(build_vocabulary())
    assert sample_held_out(64, 1) == asked and sample_held_out(5, 1) == asked[:5] and sample_held_out(5, 2) != asked[:5]


def test_a_second_round_asks_each_combination_again_in_another_scene():
    asked = sample_held_out(128, 1)
    first, second = (
        {(a.scene.color, a.scene.shape, a.scene.motion) for a in part} for part in (asked[:64], asked[64:])
    )
    assert sample_held_out(70, 1) == asked[:70]
    assert first == second and not {a.scene for a in asked[:64]} & {a.scene for a in asked[64:]}


@pytest.fixture(scope="module")
def oracle():
    """What a perfect stage 1 would draw."""
    asked = sample_held_out(8, 1)
    return asked, [render_frames(a.scene, (64, 96), 17) for a in asked]


def look_at(clips):
    return [name_attributes(detect(clip)) for clip in clips]


def test_an_oracle_is_right_and_a_shuffled_one_is_not(oracle):
    asked, clips = oracle
    right = score_drafts(asked, look_at(clips))
    assert min(right[name] for name in ("color", "shape", "motion", "all")) >= 0.95
    assert right["count"] == right["combinations"] == 8
    wrong = score_drafts(asked, look_at(clips[1:] + clips[:1]))
    truth = [a.scene for a in asked]
    for name in ("color", "shape", "motion"):
        same = sum(getattr(a, name) == getattr(b, name) for a, b in zip(truth, truth[1:] + truth[:1], strict=True))
        assert wrong[name] == pytest.approx(same / 8, abs=0.05)
        assert sum(miss["attribute"] == name for miss in wrong["misses"]) == round(8 * (1 - wrong[name]))


def test_a_grey_clip_shows_nothing(oracle):
    asked, clips = oracle
    found = score_drafts(asked[:1], look_at([torch.full_like(clips[0], 0.4)]))
    assert (found["color"], found["shape"], found["motion"], found["all"]) == (0, 0, 0, 0)
    assert {miss["seen"] for miss in found["misses"]} == {"nothing"}


def test_a_true_refinement_is_sharper_and_matches_and_another_scene_does_not():
    a, b = sample_held_out(2, 1)
    original, other = (render_frames(x.scene, (128, 192), 17) for x in (a, b))
    small = downsample(original, (32, 48))
    true, blurred = score_refined(a.scene, original, small), score_refined(a.scene, upsample(small, (128, 192)), small)
    assert true["matching"] == blurred["matching"] == 1 and true["all"] == 1
    assert true["edges"] > 1.5 * blurred["edges"]
    assert score_refined(a.scene, other, small)["matching"] == 0


def test_against_the_original_counts_the_frames_of_the_clip():
    original = render_frames(sample_held_out(1, 1)[0].scene, (64, 96), 17)
    noise = 0.1 * torch.randn(original.shape, generator=torch.Generator().manual_seed(0))
    found = score_against(original, (original + noise)[:9])
    assert found["psnr"] == pytest.approx(20, abs=0.1)
    later = original.clone()
    later[9:] = 0
    assert score_against(later, (original + noise)[:9]) == found
