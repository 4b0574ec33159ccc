"""The procedural world: held-out combinations, motions that stay in the frame, and filtered rendering at any size."""

import signal
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from flashvideo_core.tiny.captions import caption
from flashvideo_core.tiny.render import render
from flashvideo_core.tiny.scene import (
    BACKGROUND_RGB,
    COLOR_RGB,
    COLORS,
    HOP,
    MOTIONS,
    SHAPES,
    SPEEDS,
    TEXTURES,
    TRAVEL,
    is_holdout,
    locate_shape,
    sample_scene,
)


def scenes(count, seed=0, **fixed):
    rng = np.random.default_rng(seed)
    return [sample_scene(rng, **fixed) for _ in range(count)]


def test_a_third_of_the_combinations_is_held_out_and_every_pair_is_trained():
    triples = list(product(COLORS, SHAPES, MOTIONS))
    trained = [t for t in triples if not is_holdout(*t)]
    assert len(triples) == 192 and len(trained) == 128
    for a, b in ((0, 1), (0, 2), (1, 2)):
        pairs = [(t[a], t[b]) for t in trained]
        assert all(pairs.count((t[a], t[b])) >= 2 for t in triples)


def test_sampling_respects_the_holdout():
    for holdout in (False, True):
        drawn = {(s.color, s.shape, s.motion) for s in scenes(1500, holdout=holdout)}
        assert all(is_holdout(*t) == holdout for t in drawn)
        assert len(drawn) == (64 if holdout else 128)


def test_sampling_is_seeded_and_pins_attributes():
    assert scenes(5, seed=3) == scenes(5, seed=3) != scenes(5, seed=4)
    assert all(s.shape == "star" and s.background == "navy" for s in scenes(20, shape="star", background="navy"))
    assert all(s.motion != "still" for s in scenes(200, speed="high"))
    assert all(s.speed == SPEEDS[0] for s in scenes(50, motion="still"))
    assert not any(s.color == s.background == "white" for s in scenes(500, color="white"))


@pytest.mark.parametrize(
    "fixed",
    [
        {"shape": "hexagon"},
        {"radius": "small"},
        {"color": "white", "background": "white"},
        {"motion": "still", "speed": "high"},
        {"color": COLORS[0], "shape": SHAPES[0], "motion": MOTIONS[0]},  # held out
    ],
)
def test_impossible_requests_are_refused(fixed):
    with pytest.raises(ValueError, match=r"attribute|no scene"):
        scenes(1, **fixed)


def test_motions_do_what_they_say_inside_the_frame():
    for s in scenes(600):
        track = np.array([locate_shape(s, f) for f in range(17)])
        assert np.all(np.abs(track) <= (0.75 - 0.1, 0.5 - 0.1))
        dx, dy = track[-1] - track[0]
        if s.motion == "still":
            assert np.ptp(track, axis=0).max() == 0
        elif s.motion == "bouncing":
            turns = np.sum(np.diff(np.sign(np.diff(track[:, 1]))) != 0)
            assert turns >= 2 and np.ptp(track[:, 0]) <= 0.08 and 0.8 * HOP[0] <= np.ptp(track[:, 1]) <= 1.03 * HOP[-1]
        else:
            along = {"left": -dx, "right": dx, "up": -dy, "down": dy}[s.motion]
            assert 0.94 * TRAVEL[0] <= along <= 1.03 * TRAVEL[-1]
            assert np.allclose(np.diff(track, n=2, axis=0), 0)


def test_speed_orders_the_displacement():
    means = [np.mean([abs(s.dx) for s in scenes(20, motion="left", speed=speed)]) for speed in SPEEDS]
    assert np.all(np.diff(means) > 0.9 * np.diff(TRAVEL))


def test_a_crop_equals_the_slice_bit_for_bit():
    for s in scenes(24):
        whole = render(s)
        assert whole.shape == (3, 17, 256, 384) and whole.dtype == torch.float32
        assert whole.min() >= -1 and whole.max() <= 1
        part = render(s, crop=(101, 148, 37, 59), first=3, frames=9)
        assert torch.equal(part, whole[:, 3:12, 101:138, 148:207])


def test_a_small_render_is_the_area_average_of_a_large_one():
    """Seen over these scenes: 0.0005 on average, 0.003 at worst (of a range of 2)."""
    errors = []
    for s in scenes(32, seed=1):
        small = render(s, height=64, width=96)
        large = F.avg_pool2d(render(s), 4)
        errors.append((small - large).abs().mean().item())
    assert np.mean(errors) < 1e-3 and max(errors) < 5e-3


@pytest.mark.parametrize("texture", TEXTURES[1:])
def test_textures_have_two_shades_of_one_hue(texture):
    """And crisp ones: at 256 rows most of the shape's inner pixels show one of the two pure shades."""
    s = scenes(
        1,
        texture=texture,
        color="green",
        size="large",
        shape="circle",
        background_texture="plain",
    )[0]
    x, y = locate_shape(s, 0)
    top, left = round((y + 0.5) * 256) - 25, round((x + 0.75) * 256) - 25
    patch = (render(s, frames=1, crop=(top, left, 50, 50))[:, 0].flatten(1) + 1) / 2
    green = torch.tensor(COLOR_RGB["green"])[:, None] / 255
    light = patch[1] / green[1]
    assert torch.allclose(patch, green * light, atol=1e-5)
    pure = ((light - 1).abs() < 0.02) | ((light - s.texture_shade).abs() < 0.02)
    assert pure.float().mean() > 0.6 and light.min() < 0.68 and light.max() > 0.98


def test_every_shape_colour_stands_out_of_every_background():
    for color, background in product(COLORS, BACKGROUND_RGB):
        if not color == background == "white":
            bright, ground = (
                np.array(COLOR_RGB[color]),
                np.array(BACKGROUND_RGB[background]),
            )
            assert np.abs(bright - ground).max() > 60


def test_crops_and_frames_outside_the_clip_are_refused():
    s = scenes(1)[0]
    with pytest.raises(ValueError, match="crop"):
        render(s, crop=(240, 0, 32, 32))
    with pytest.raises(ValueError, match="frames"):
        render(s, first=10, frames=9)


def test_an_interrupt_while_drawing_always_arrives():
    """numpy loses those that come while it makes an array of words, and a training would run on after Ctrl-C."""
    rng, lost = np.random.default_rng(0), 0
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        for tenths in range(1, 301):  # of a millisecond, in which some scenes and captions are drawn
            try:
                signal.setitimer(signal.ITIMER_REAL, tenths * 1e-4)
                for _ in range(200):
                    caption(sample_scene(rng), rng)
                lost += signal.getitimer(signal.ITIMER_REAL)[0] == 0
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                pass
    finally:
        signal.signal(signal.SIGALRM, before)
    assert lost == 0
