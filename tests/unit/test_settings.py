"""The numbers of a run: defaults of the weights, rules, and the form that a record keeps."""

import dataclasses
import json
import math

import pytest

from flashvideo_core.config import STAGE1_DEFAULTS, STAGE2_DEFAULTS
from flashvideo_core.errors import InputError
from flashvideo_core.latent_windows import LatentWindows
from flashvideo_core.plans import DraftPlan, RefinePlan
from flashvideo_core.settings import DraftSettings, RefineSettings

DRAFT = DraftSettings(49, 256, 480, 51, 8.0, "released")
REFINE = RefineSettings(1072, 1920, 4, 13.0, 2.5, 675)


def test_none_takes_the_default_beside_the_weights():
    assert DraftSettings.from_defaults(STAGE1_DEFAULTS, frames=None, cfg=None) == DRAFT
    assert RefineSettings.from_defaults(STAGE2_DEFAULTS) == REFINE
    tiny = dataclasses.replace(STAGE1_DEFAULTS, size=(64, 96), frames=17, cfg=4.0)
    settings = DraftSettings.from_defaults(tiny, steps=20, seed=3, negative="blurry")
    assert settings == DraftSettings(17, 64, 96, 20, 4.0, "released", 3, "blurry")


def test_sides_are_floored_to_multiples_of_16():
    assert DraftSettings.from_defaults(STAGE1_DEFAULTS, height=70, width=95).size == (64, 80)
    assert RefineSettings.from_defaults(STAGE2_DEFAULTS, height=1080).size == (1072, 1920)


def test_the_latent_of_a_draft():
    assert DRAFT.latent_shape == (13, 32, 60)


def test_a_name_that_no_field_has_is_a_mistake_of_the_program():
    with pytest.raises(TypeError, match="shift"):
        DraftSettings.from_defaults(STAGE1_DEFAULTS, shift=2.5)


@pytest.mark.parametrize(
    ("settings", "change", "rule"),
    [
        (DRAFT, {"frames": 6}, "frames is 6; it must be 4n"),
        (DRAFT, {"height": 15}, "height is 15; it must be 16 to 8192"),
        (DRAFT, {"width": 40}, "width is 40; it must be a multiple of 16"),
        (DRAFT, {"steps": 1}, "steps is 1; stage 1 needs 2 to 999"),
        (DRAFT, {"cfg": math.nan}, "cfg is nan; it must be a finite number"),
        (DRAFT, {"guidance": "strong"}, "guidance is 'strong'; choose one of"),
        (REFINE, {"height": 9000}, "height is 9000; it must be 16 to 8192"),
        (REFINE, {"steps": 0}, "steps is 0; stage 2 needs at least 1"),
        (REFINE, {"steps": 1001}, "steps is 1001; stage 2 needs 1 to 1000"),
        (REFINE, {"shift": 0.0}, "shift is 0.0; it must be positive"),
        (REFINE, {"ref_step": 1000}, "noise step is 1000; it must be 0 to 999"),
        (REFINE, {"window_height": 24}, "the window is 24x0; it needs at least 1x1 tokens"),
        (REFINE, {"window_height": 4, "window_width": -4}, "the window is 4x-4; it needs"),
        (REFINE, {"dense_evaluations": 1}, "dense_evaluations is 1; it must be at least 0, and 0 where all"),
        (REFINE, {"dense_evaluations": -1}, "dense_evaluations is -1; it must be at least 0"),
        (REFINE, {"cfg": math.inf}, "cfg is inf; it must be a finite number"),
        (REFINE, {"guided_evaluations": -1}, "guided_evaluations is -1; it must be at least 0"),
        (REFINE, {"match": "hue"}, "match is 'hue'; choose one of none, color, low"),
        (DRAFT, {"cfg_epsilon": -0.1}, "cfg_epsilon is -0.1; it must be at least 0 and below 1"),
        (DRAFT, {"cfg_epsilon": math.nan}, "cfg_epsilon is nan"),
        (DRAFT, {"cache": -0.1}, "cache is -0.1; it must be at least 0"),
        (DRAFT, {"cache": math.inf}, "cache is inf"),
        (REFINE, {"windows": "both"}, "windows is 'both'; choose one of off, time, space, time.space"),
        (REFINE, {"time_window": 9}, "time_window is 9, but windows is 'off': there are none in time"),
        (REFINE, {"windows": "time", "space_overlap": 64}, "space_overlap is 64, but windows is 'time'"),
        (
            REFINE,
            {"windows": "time", "time_window": 4},
            "time_overlap is 4; it must be 0 or more, and less than the window .4",
        ),
        (REFINE, {"windows": "time", "time_overlap": -1}, "time_overlap is -1; it must be 0 or more"),
        (REFINE, {"windows": "space", "space_window_height": 100}, "space_window_height is 100; .* multiple of 16"),
        (REFINE, {"windows": "space", "space_window_width": 96}, "space_overlap is 128; .* less than the window .96"),
    ],
)
def test_settings_that_exist_are_valid(settings, change, rule):
    with pytest.raises(InputError, match=rule):
        dataclasses.replace(settings, **change)


@pytest.mark.parametrize(
    "settings",
    [DRAFT, REFINE, dataclasses.replace(REFINE, seed=2**64 - 1, negative="x", windows="time+space", time_overlap=2)],
)
def test_settings_come_back_from_json(settings):
    assert type(settings).from_json(json.loads(json.dumps(settings.to_json()))) == settings


def test_windows_are_in_units_of_the_latent():
    assert REFINE.latent_windows is None
    both = dataclasses.replace(REFINE, windows="time+space").latent_windows
    assert both == LatentWindows((13, 68, 120), (4, 16, 16))
    assert dataclasses.replace(REFINE, windows="time").latent_windows.size == (13, None, None)
    assert dataclasses.replace(REFINE, windows="space").latent_windows.size == (None, 68, 120)


def test_the_order_in_a_record():
    assert list(DRAFT.to_json()) == ["frames", "height", "width", "steps", "cfg", "guidance", "seed", "negative"]
    assert list(REFINE.to_json()) == ["height", "width", "steps", "cfg", "shift", "ref_step", "seed", "negative"]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"steps": "many"}, "has settings that cannot be used"),
        ({"cfg": None}, "has settings that cannot be used"),
        ({"ref_step": 1000}, "has settings that cannot be used: noise step is 1000"),
        ({"brightness": 1, "contrast": 2}, "has settings that are unknown here: brightness, contrast"),
    ],
)
def test_json_that_is_no_settings_is_refused(change, rule):
    with pytest.raises(InputError, match=rule):
        RefineSettings.from_json(REFINE.to_json() | change)


def test_json_with_something_missing_is_refused():
    with pytest.raises(InputError, match=r"is incomplete: it lacks settings of the clip \(height, width, .*ref_step\)"):
        RefineSettings.from_json({})
    with pytest.raises(InputError, match="has a memory plan that is unknown here: stage3"):
        DraftPlan.from_json({"stage3": None})


@pytest.mark.parametrize("plan", [DraftPlan((6, 8), 1), DraftPlan(None, 2), RefinePlan((6, 8), 1536, 1)])
def test_plans_come_back_from_json(plan):
    """JSON has no tuples."""
    assert type(plan).from_json(json.loads(json.dumps(plan.to_json()))) == plan
