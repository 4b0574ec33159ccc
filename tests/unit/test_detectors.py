"""The classical judges, on rendered clips whose truth is known, clean and degraded as a generative model would."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from flashvideo_core.tiny.detectors import detect
from flashvideo_core.tiny.foreground import find_masks
from flashvideo_core.tiny.quality import MATCH, compute_psnr, match_low_frequencies, measure_sharpness
from flashvideo_core.tiny.render import render
from flashvideo_core.tiny.scene import COLORS, locate_shape, sample_scene


def scenes(count, seed=0, **fixed):
    rng = np.random.default_rng(seed)
    return [sample_scene(rng, **fixed) for _ in range(count)]


def clip(scene, height=64, **options):
    frames = render(scene, height=height, width=height * 3 // 2, **options)
    return (frames.permute(1, 2, 3, 0) + 1) / 2


def planar(function, frames):
    return function(frames.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def blur(frames):
    return planar(lambda x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False), frames)


def noisy(frames, level, grain=1, seed=0):
    count, height, width, _ = frames.shape
    noise = torch.randn(count, 3, height // grain, width // grain, generator=torch.Generator().manual_seed(seed))
    noise = F.interpolate(noise, size=(height, width), mode="bilinear").permute(0, 2, 3, 1)
    return (frames + level * noise).clamp(0, 1)


def accuracy(drawn, degrade):
    hits = np.zeros(3)
    for i, scene in enumerate(drawn):
        seen = detect(degrade(clip(scene), i))
        hits += (seen.color == scene.color, seen.shape == scene.shape, seen.motion == scene.motion)
    return hits / len(drawn)


@pytest.mark.parametrize(
    "degrade",
    [
        lambda frames, seed: frames,
        lambda frames, seed: noisy(blur(frames), 0.04, seed=seed),
        lambda frames, seed: noisy(blur(blur(frames)), 0.06, grain=4, seed=seed),
    ],
    ids=["clean", "blur and noise", "strong blur and blotches"],
)
def test_draft_sized_clips_are_named_right(degrade):
    """Seen over larger samples: clean 300 of 300 in all three; degraded 799 or 800 of 800."""
    color, shape, motion = accuracy(scenes(24, seed=5) + scenes(24, seed=6, holdout=True), degrade)
    assert color >= 0.97 and motion >= 0.97 and shape >= 0.97


def test_large_clips_are_named_right_and_tracked():
    for scene in scenes(4, seed=2):
        seen = detect(clip(scene, height=256).numpy())
        assert (seen.color, seen.shape, seen.motion) == (scene.color, scene.shape, scene.motion)
        truth = np.add([locate_shape(scene, f) for f in range(17)], (0.75, 0.5))
        assert np.nanmax(np.abs(seen.track - truth)) < 0.04
        assert 0.5 < seen.area / scene.radius**2 < 4.3


def shaken(scene, seed, reach):
    """The scene with its shape displaced in each frame by up to `reach` frame heights."""
    rng = np.random.default_rng(seed)
    shifts = rng.uniform(-reach, reach, (17, 2))
    moved = [replace(scene, x=scene.x + x, y=scene.y + y) for x, y in shifts]
    return torch.cat([clip(m, first=i, frames=1) for i, m in enumerate(moved)])


@pytest.mark.parametrize("motion", ["still", "left", "up"])
def test_jitter_is_not_taken_for_motion(motion):
    for i, scene in enumerate(scenes(4, seed=3, motion=motion, speed="very low", size="medium", background="dark")):
        assert detect(shaken(scene, i, reach=0.025)).motion == motion


def test_a_shape_that_is_hidden_in_some_frames_is_still_found():
    scene = scenes(1, seed=8, motion="right", speed="high")[0]
    frames = clip(scene)
    empty = clip(replace(scene, x=9.0))
    frames[[2, 3, 9]] = empty[[2, 3, 9]]
    seen = detect(frames)
    assert (seen.color, seen.shape, seen.motion) == (scene.color, scene.shape, "right")
    assert np.flatnonzero(np.isnan(seen.track[:, 0])).tolist() == [2, 3, 9]


def test_nothing_is_seen_where_nothing_is():
    for texture in ("plain", "noisy", "gradient", "striped"):
        scene = replace(scenes(1, background_texture=texture)[0], x=9.0)
        seen = detect(noisy(clip(scene), 0.02))
        assert (seen.color, seen.shape, seen.motion, seen.area) == (None, None, None, 0.0)


def test_a_mask_is_the_largest_thing_of_each_frame_without_its_holes():
    """A ring, a smaller blob elsewhere, and one that touches the ring at a corner only; the second frame is empty."""
    frames = torch.zeros(2, 3, 40, 60)
    frames[0, :, 5:25, 5:25] = 1
    frames[0, :, 10:20, 10:20] = 0
    frames[0, :, 30:35, 40:50] = 1
    frames[0, :, 25:28, 25:28] = 1
    wanted = torch.zeros(2, 40, 60, dtype=torch.bool)
    wanted[0, 5:25, 5:25] = True
    assert torch.equal(find_masks(frames), wanted)


def test_any_picture_gets_an_answer():
    for frames in (torch.rand(5, 64, 96, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(1, 40, 40, 3)):
        detect(frames)
    halves = torch.zeros(5, 64, 96, 3)
    halves[:, :, 48:] = 1
    detect(halves)


def test_edge_sharpness_is_that_of_a_step_and_falls_with_blur():
    step = torch.zeros(1, 64, 96, 3)
    step[:, :, 48:] = 1
    ramp = torch.linspace(0, 1, 5)
    wide = torch.cat([torch.zeros(46), ramp[1:-1], torch.ones(47)])[None, None, :, None].expand(1, 64, 96, 3)
    assert measure_sharpness(step) == pytest.approx(3**0.5 / 2, abs=1e-5)
    assert measure_sharpness(wide) == pytest.approx(3**0.5 / 4, abs=1e-5)
    for scene in scenes(3, seed=4):
        sharp = clip(scene, height=256)
        small = planar(lambda x: F.avg_pool2d(x, 4), sharp)
        soft = planar(lambda x: F.interpolate(x, scale_factor=4, mode="bilinear"), small)
        assert measure_sharpness(sharp) > 2 * measure_sharpness(soft)
        assert measure_sharpness(sharp) > 1.3 * measure_sharpness(blur(sharp))


def test_psnr_of_a_known_error():
    a = torch.rand(3, 8, 8, 3, generator=torch.Generator().manual_seed(0))
    assert compute_psnr(a, a) == float("inf")
    assert compute_psnr(a + 0.1, a) == pytest.approx(20, abs=1e-3)


def test_low_frequencies_match_their_own_draft_only():
    for scene in scenes(6, seed=7):
        draft = clip(scene)
        next_color = COLORS[(COLORS.index(scene.color) + 1) % len(COLORS)]
        for same in (clip(scene, height=256), noisy(clip(scene, height=256), 0.03)):
            assert match_low_frequencies(same, draft) > 0.99
        for other in (replace(scene, color=next_color), replace(scene, x=scene.x + 0.4 * scene.radius)):
            assert match_low_frequencies(clip(other, height=256), draft) < MATCH


@pytest.mark.parametrize("shape", [(64, 96, 3), (17, 3, 64, 96), (0, 64, 96, 3)])
def test_what_is_not_a_clip_is_refused(shape):
    with pytest.raises(ValueError, match="a clip is"):
        detect(torch.zeros(shape))
    with pytest.raises(ValueError, match="not finite"):
        detect(torch.full((5, 64, 96, 3), torch.nan))
    with pytest.raises(ValueError, match="one size"):
        compute_psnr(torch.zeros(5, 64, 96, 3), torch.zeros(1, 64, 96, 3))
    with pytest.raises(ValueError, match="frames"):
        match_low_frequencies(torch.zeros(5, 64, 96, 3), torch.zeros(9, 64, 96, 3))
