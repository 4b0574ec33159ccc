"""The record of a clip: what it keeps, in which form, and when two of them ask for the same clip."""

import json
from dataclasses import fields, replace
from fractions import Fraction

import pytest

from flashvideo_core.cli.record import Record, read_record
from flashvideo_core.errors import InputError
from flashvideo_core.faithful import Drift
from flashvideo_core.plans import DraftPlan, Passes, RefinePlan
from flashvideo_core.settings import OPT_IN, DraftSettings, RefineSettings

HASHES = {name: {"file": "embedded", "sha256": 64 * digit} for name, digit in (("stage1", "1"), ("text", "2"))}
SOFTWARE = {"flashvideo": "0.1.0", "torch": "2.13.0+cpu", "threads": 2}
RUN = {"dtype": "float32", "device": "cpu", "fps": 8, "crf": 17, "attention": "chunked", "software": SOFTWARE}
STAGE1 = {"frames": 5, "height": 64, "width": 80, "steps": 5, "cfg": 3.0, "guidance": "constant", "seed": 5}
STAGE1 |= {"negative": "blurry", "tiles": {"decode": [24, 32], "branches": 2}}
STAGE2 = {"height": 128, "width": 192, "steps": 2, "cfg": 1.0, "shift": 2.5, "ref_step": 30, "seed": 9}
STAGE2 |= {"tiles": {"encode": None, "decode": 24576, "branches": 1}}

# as version 0.1.0 wrote them: a clip, a draft, and what was refined from a video
CLIP = {"prompt": "a blue star", "stage1": STAGE1, "stage2": STAGE2, "weights": HASHES, **RUN, "paths": {}}
DRAFT = {name: CLIP[name] for name in ("prompt", "stage1", "weights", "dtype", "device", "fps", "software")}
REFINED = CLIP | {"stage1": {"seed": 0, "negative": None}, "fps": "24000/1001"}
REFINED |= {"source": {"file": "film.mp4", "sha256": 64 * "0"}}


def as_json(record: Record) -> object:
    return json.loads(json.dumps(record.to_json()))


@pytest.mark.parametrize("old", [CLIP, DRAFT, REFINED], ids=["clip", "draft", "refined video"])
def test_the_form_is_that_of_version_0_1(old):
    assert as_json(Record.from_json(old)) == old


def test_the_order_is_kept():
    assert list(Record.from_json(CLIP).to_json()) == list(CLIP)
    assert [list(stage) for stage in (Record.from_json(CLIP).to_json()[name] for name in ("stage1", "stage2"))] == [
        list(STAGE1),
        list(STAGE2),
    ]


def test_a_record_is_the_settings_of_both_stages():
    record = Record.from_json(CLIP)
    assert record.draft == DraftSettings(5, 64, 80, 5, 3.0, "constant", 5, "blurry")
    assert record.refine == RefineSettings(128, 192, 2, 1.0, 2.5, 30, 9, "blurry")  # the draft's negative prompt
    assert record.draft_plan == DraftPlan((24, 32), 2) and record.refine_plan == RefinePlan(None, 24576, 1)
    assert Record.from_json(REFINED).draft is None and Record.from_json(REFINED).fps == Fraction(24000, 1001)


def test_a_negative_prompt_of_stage_2_alone_is_kept():
    record = Record.from_json(CLIP)
    record = replace(record, refine=replace(record.refine, negative=None))
    assert record.to_json()["stage2"]["negative"] is None
    assert Record.from_json(as_json(record)) == record


def test_the_negative_prompt_of_a_refined_video_stands_where_it_stood():
    record = Record.from_json(REFINED)
    record = replace(record, refine=replace(record.refine, negative="blurry"))
    assert record.to_json()["stage1"] == {"seed": 0, "negative": "blurry"}
    assert Record.from_json(as_json(record)) == record


def test_what_the_machine_added_makes_no_other_clip():
    record = Record.from_json(CLIP)
    assert record == replace(record, draft_plan=None, refine_plan=None, software=None, paths={"vae": "elsewhere"})
    for changed in (
        replace(record, prompt="a red star"),
        replace(record, draft=replace(record.draft, seed=6)),
        replace(record, refine=replace(record.refine, shift=3.0)),
        replace(record, weights={}),
        replace(record, dtype="bfloat16"),
    ):
        assert changed != record


def test_the_half_of_the_draft():
    record = Record.from_json(CLIP | {"weights": HASHES | {"vae": {"file": "vae.pt", "sha256": 64 * "3"}}})
    assert record.of_draft() == Record.from_json(DRAFT | {"attention": "chunked"})
    assert as_json(record.of_draft()) == DRAFT | {"attention": "chunked"}


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"stage1": STAGE1 | {"brightness": 1}}, "has settings that are unknown here: brightness"),
        ({"stage1": {"seed": 1}}, "is incomplete: it lacks settings of the clip"),
        ({"stage2": {}}, "is incomplete: it lacks settings of the clip"),
        ({"stage2": STAGE2 | {"steps": 0}}, "steps is 0; stage 2 needs at least 1"),
        ({"fps": None}, "fps is None; it must be a rate above 0, at most 1000"),
        ({"stage1": "none"}, "stage1 is 'none'; it must be a table of settings"),
    ],
)
def test_a_damaged_record_is_refused_with_the_name_of_its_file(change, rule, tmp_path):
    (tmp_path / "clip.json").write_text(json.dumps(CLIP | change))
    with pytest.raises(InputError, match=rule) as caught:
        read_record(tmp_path)
    assert str(caught.value).startswith(str(tmp_path))


def test_every_field_of_the_settings_stands_in_the_record():
    """Those that are opt-in only where they are asked for, so that other records read as ever."""
    record = Record.from_json(CLIP | {"stage2": STAGE2 | {"negative": "x"}}).to_json()
    for cls, stage in ((DraftSettings, "stage1"), (RefineSettings, "stage2")):
        always = {field.name for field in fields(cls) if OPT_IN not in field.metadata}
        assert always | {"tiles"} == set(record[stage])


@pytest.mark.parametrize(
    ("stage", "asked"),
    [
        ("stage1", {"cfg_epsilon": 0.05, "cache": 0.1}),
        ("stage2", {"guided_evaluations": 1}),
        ("stage2", {"window_height": 24, "window_width": 40, "dense_evaluations": 1}),
        ("stage2", {"match": "low"}),
        ("stage2", {"windows": "time", "time_window": 5, "time_overlap": 2}),
        ("stage2", {"windows": "space", "space_window_height": 64, "space_window_width": 96, "space_overlap": 16}),
    ],
)
def test_what_is_asked_for_stands_in_the_record(stage, asked):
    record = Record.from_json(CLIP | {stage: CLIP[stage] | asked})
    assert as_json(record)[stage].items() >= asked.items()
    assert Record.from_json(as_json(record)) == record != Record.from_json(CLIP)


def test_the_drift_is_kept_and_makes_no_other_clip():
    drift = {"color": 0.5, "worst_color": 1, "low": 2.5, "worst_low": 3.25, "worst_frame": 3}
    record = Record.from_json(CLIP | {"drift": drift})
    assert as_json(record) == CLIP | {"drift": drift}
    assert record.drift == Drift(0.5, 1, 2.5, 3.25, 3) and record == Record.from_json(CLIP)
    assert record.of_draft().drift is None
    for damaged in ({"color": 0.5}, drift | {"low": "much"}, drift | {"hue": 1}, 0.5):
        with pytest.raises(InputError, match=r"drift is .*; it must be a table of numbers: color, worst_color, low"):
            Record.from_json(CLIP | {"drift": damaged})


def test_what_was_evaluated_is_kept_and_makes_no_other_clip():
    counted = {"stage1": STAGE1 | {"passes": {"cond": 5, "uncond": 4}}}
    record = Record.from_json(CLIP | counted)
    assert as_json(record) == CLIP | counted
    assert record.draft_plan.passes == Passes(5, 4) and record.refine_plan.passes is None
    assert record == Record.from_json(CLIP)
    for damaged in ({"cond": 5}, {"cond": 5, "uncond": -1}, {"cond": 5, "uncond": 4, "both": 1}, [5, 4]):
        with pytest.raises(InputError, match=r"stage1.passes is .*; it must be a table of cond and uncond"):
            Record.from_json(CLIP | {"stage1": STAGE1 | {"passes": damaged}})
