"""Stage 2 over latent windows: one window is today's result, several are the mean of what the network says of each."""

from collections import Counter
from dataclasses import replace
from itertools import product

import pytest
import torch
from support.golden import SAMPLING, error

from flashvideo_core.attention import attention
from flashvideo_core.components import Pipeline
from flashvideo_core.config import STAGE2
from flashvideo_core.latent_windows import LatentWindows
from flashvideo_core.memory import USABLE_SHARE, plan_branches, plan_stage, transformer_peak
from flashvideo_core.phases import draw_start_noise, refine_reference
from flashvideo_core.plans import Passes
from flashvideo_core.sampling import bind_options, make_draw_noise
from flashvideo_core.schedule import add_noise, zero_snr_sqrt_alphas
from flashvideo_core.settings import RefineSettings

SETTINGS = RefineSettings(64, 96, 2, 3.0, 2.5, 675, seed=5)
TEXT = torch.randn(1, 5, 32, generator=torch.Generator().manual_seed(9))


@pytest.fixture(scope="module")
def pipe(stage2, vae):
    return Pipeline(None, stage2, vae, None)


def refine(pipe, z_ref, settings=SETTINGS, **options):
    return refine_reference(pipe, pipe.stage2, z_ref, TEXT, settings, **options)


def reference(frames, height=8, width=12):
    return torch.randn(1, 16, frames, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("windows", ["time", "space", "time+space"])
def test_a_clip_in_one_window_is_bit_for_bit_as_without(pipe, windows):
    z_ref = reference(3)
    assert refine(pipe, z_ref, replace(SETTINGS, windows=windows)).equal(refine(pipe, z_ref))
    smallest = replace(SETTINGS, windows="time", time_window=3, time_overlap=1)
    assert refine(pipe, z_ref, smallest).equal(refine(pipe, z_ref))


CHEAP = replace(SETTINGS, window_height=2, window_width=2, guided_evaluations=1)


@pytest.mark.parametrize("windows", ["time", "space", "time+space"])
def test_one_window_is_bit_for_bit_as_without_under_the_other_options(pipe, windows):
    z_ref = reference(3)
    cheap = refine(pipe, z_ref, CHEAP)
    assert refine(pipe, z_ref, replace(CHEAP, windows=windows)).equal(cheap)
    for one_off in ({"guided_evaluations": 0}, {"window_height": 0, "window_width": 0}):
        assert not refine(pipe, z_ref, replace(CHEAP, **one_off)).equal(cheap)


def test_the_other_options_act_inside_each_window(pipe):
    """Attention over all tokens of a latent window is dense; each window is guided once and evaluated twice."""
    sides = {"time_window": 2, "time_overlap": 1, "space_window_height": 48, "space_window_width": 64}
    latent = {**sides, "windows": "time+space", "space_overlap": 16}
    z_ref, passes = reference(3), Counter()
    dense = replace(SETTINGS, guided_evaluations=1, **latent)
    wide = replace(CHEAP, window_height=3, window_width=4, **latent)
    assert error(refine(pipe, z_ref, wide), refine(pipe, z_ref, dense)) < SAMPLING
    narrow = refine(pipe, z_ref, replace(CHEAP, **latent), on_pass=passes.update)
    assert error(narrow, refine(pipe, z_ref, dense)) > 10 * SAMPLING
    assert Passes.count(passes) == Passes(cond=16, uncond=8)


def ramp(start, length, shared):
    """By hand: linear over what two windows share, the second of which starts above 0."""
    weights = torch.ones(length)
    slope = (torch.arange(shared) + 0.5) / shared
    weights[:shared] = slope if start else weights[:shared]
    weights[length - shared :] = weights[length - shared :] if start else slope.flip(0)
    return weights


def test_velocities_are_averaged_in_one_state(pipe):
    """By hand: one step of Euler on the mean of what eight windows say, and a step of progress for each."""
    sides = {"time_window": 2, "time_overlap": 1, "space_window_height": 48, "space_window_width": 64}
    settings = replace(SETTINGS, windows="time+space", space_overlap=16, steps=1, **sides)
    model = bind_options(pipe.stage2, 675, attention, None)
    z_ref, scale = reference(3), pipe.stage2.config.latent_scale
    x = add_noise(scale * z_ref, draw_start_noise(z_ref, settings), float(zero_snr_sqrt_alphas()[675]))
    velocity = torch.zeros_like(x)
    for t, h, w in product((0, 1), (0, 2), (0, 4)):
        part = (..., slice(t, t + 2), slice(h, h + 6), slice(w, w + 8))
        cond, uncond = (model(x[part], torch.tensor([1000.0]), txt) for txt in (TEXT, torch.zeros_like(TEXT)))
        frames = torch.tensor([0.0, 1.0] if t else [1.0, 1.0])  # a window inside begins with context
        weights = frames[:, None, None] * ramp(h, 6, 4)[:, None] * ramp(w, 8, 4)
        velocity[part] += weights * (uncond + 3.0 * (cond - uncond))
    steps = []
    out = refine(pipe, z_ref, settings, callback=lambda *step: steps.append(step[:3]))
    assert error(out, (x + velocity) / scale) < SAMPLING
    assert steps == [("stage2", i + 1, 8) for i in range(8)]


def test_a_frame_starts_from_the_same_noise_in_a_longer_clip():
    settings = replace(SETTINGS, windows="time", time_window=3, time_overlap=1)
    short, long = (draw_start_noise(reference(frames), settings) for frames in (5, 9))
    assert long[:, :, :5].equal(short)
    space = replace(SETTINGS, windows="space")
    assert draw_start_noise(reference(5), space).equal(make_draw_noise(5)(reference(5)))


def test_guidance_is_planned_for_a_window(pipe):
    """What does not fit for the whole latent fits for a window of it."""
    latent, windows = (4, 32, 48), LatentWindows((None, 16, 16), (0, 4, 4))
    window = transformer_peak(pipe.stage2.config, 2, (4, 16, 16), 4)
    free = int(1.01 * window / USABLE_SHARE)
    assert plan_branches(pipe.stage2.config, latent, 4, free) == 1
    assert plan_branches(pipe.stage2.config, windows.fit(latent), 4, free) == 2


@pytest.mark.parametrize(("size", "count"), [((1072, 1920), 9), ((1440, 2560), 12), ((2160, 3840), 25)])
def test_large_clips_take_the_memory_of_a_window(size, count):
    """Of a clip of 544x960, which is less than 1080p takes in one piece."""
    free, windows = 24 * 2**30, LatentWindows((None, 68, 120), (0, 16, 16))
    one = plan_stage("stage2", STAGE2, (49, 544, 960), torch.bfloat16, free)
    many = plan_stage("stage2", STAGE2, (49, *size), torch.bfloat16, free, windows=windows)
    assert replace(many, clip=one.clip, windows=1) == one
    assert many.windows == many.to_json()["windows"] == count and "windows" not in one.to_json()
    assert many.describe() == f"26746 tokens in each of {count} windows, guidance in one batch"
    assert many.work < plan_stage("stage2", STAGE2, (49, 1072, 1920), torch.bfloat16, free).work
