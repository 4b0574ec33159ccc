"""Configs as they travel in a file's metadata: there and back, files of older versions, and what is refused."""

import json
from dataclasses import replace

import pytest

from flashvideo_core.config import STAGE1, STAGE2, TextConfig, VAEConfig, from_json, to_json

CONFIGS = (
    STAGE1,
    STAGE2,
    replace(STAGE2, stage=1, reference=False),
    replace(STAGE1, objective="flow"),
    TextConfig(words=5),
    VAEConfig(channels=16, multipliers=(1, 2, 4, 4), groups=8),
)


@pytest.mark.parametrize("config", CONFIGS)
def test_a_config_travels_as_json(config):
    assert from_json(to_json(config)) == config


@pytest.mark.parametrize("config", [STAGE1, STAGE2])
def test_an_older_file_names_only_its_stage(config):
    fields = json.loads(to_json(config))
    del fields["reference"], fields["objective"]
    assert from_json(json.dumps(fields)) == config


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"kind": "vae", "channels": 1, "extra": 2}', '{"kind": "something"}', "nonsense"]
)
def test_what_is_no_config(text):
    with pytest.raises(ValueError, match="config"):
        from_json(text)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stage", 3),
        ("reference", "yes"),
        ("reference", 1),
        ("objective", "epsilon"),
        ("layers", "two"),
        ("layers", 0),
        ("hidden", 100),
        ("hidden", -64),
        ("time_dim", None),
        ("patch", 2.5),
        ("latent_scale", 0.0),
        ("latent_scale", True),
    ],
)
def test_a_field_out_of_its_range(name, value):
    with pytest.raises(ValueError, match=f"config.*{name} is"):
        from_json(json.dumps(json.loads(to_json(STAGE2)) | {name: value}))


@pytest.mark.parametrize(("name", "value"), [("size", [1072]), ("size", 5), ("frames", -1), ("ref_step", -1)])
def test_a_default_out_of_its_range(name, value):
    fields = json.loads(to_json(STAGE2))
    fields["defaults"][name] = value
    with pytest.raises(ValueError, match=f"config.*{name} is"):
        from_json(json.dumps(fields))


def test_a_default_may_be_zero():
    config = replace(STAGE2, defaults=replace(STAGE2.defaults, cfg=0.0, ref_step=0))
    assert from_json(to_json(config)) == config
