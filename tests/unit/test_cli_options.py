"""The options of the command line: what they become, and that no number of a run lacks one."""

import argparse
import json
from dataclasses import fields
from pathlib import Path

import pytest

from flashvideo_core.cli.options import (
    DRAFT,
    REFINE,
    ComponentOptions,
    OutputOptions,
    PromptOptions,
    named_settings,
    parse_options,
    parse_size,
)
from flashvideo_core.cli.parser import build_parser
from flashvideo_core.errors import InputError
from flashvideo_core.settings import OPT_IN, DraftSettings, RefineSettings

NODES = json.loads((Path(__file__).parents[1] / "data/object_info.json").read_text())
SIDES = {"height", "width"}


def parse(command: str) -> argparse.Namespace:
    return build_parser().parse_args(command.split())


def test_what_is_not_named_is_left_to_the_weights():
    args = parse("generate x")
    assert named_settings(args, DRAFT) == named_settings(args, REFINE) == {}


def test_numbers_are_named_by_the_fields_of_the_settings():
    first = "--seed 3 --negative blurry --frames 5 --steps 9 --cfg 4 --guidance constant --height 32"
    second = "--size 64x96 --refine-seed 4 --refine-steps 2 --refine-cfg 5 --shift 3 --noise-step 7"
    first, second = f"{first} --cfg-epsilon 0.05", f"{second} --guided-evaluations 1"
    args = parse(f"generate x {first} {second}")
    draft = {"seed": 3, "negative": "blurry", "frames": 5, "steps": 9, "cfg": 4.0, "guidance": "constant", "height": 32}
    refine = {"size": (64, 96), "seed": 4, "steps": 2, "cfg": 5.0, "shift": 3.0, "ref_step": 7}
    draft, refine = draft | {"cfg_epsilon": 0.05}, refine | {"guided_evaluations": 1}
    assert named_settings(args, DRAFT) == draft
    assert named_settings(args, REFINE) == refine


@pytest.mark.parametrize(("settings", "stage"), [(DraftSettings, DRAFT), (RefineSettings, REFINE)])
def test_every_number_of_a_run_has_an_option(settings, stage):
    """--size is both sides of the refined clip; --negative of generate is for both stages."""
    named = {name.removeprefix(f"{stage}.") for name in vars(parse("generate x"))}
    named |= {name.removeprefix(f"{stage}.") for name in vars(parse("refine draft.safetensors"))}
    named |= SIDES if "size" in named else set()
    assert {field.name for field in fields(settings)} <= named


@pytest.mark.parametrize(
    ("settings", "node", "renamed"),
    [
        (DraftSettings, "FlashVideoStage1", {}),
        (RefineSettings, "FlashVideoStage2", {"ref_step": "noise_step", "height": "latent", "width": "latent"}),
    ],
)
def test_every_number_of_a_run_has_a_node_input(settings, node, renamed):
    """The negative prompt comes as conditioning, and the refined clip's size with the hand-off's latent."""
    inputs = NODES[node]["input"]["required"] | NODES[node]["input"].get("optional", {})
    wanted = {field.name for field in fields(settings) if OPT_IN not in field.metadata}
    assert {renamed.get(name, name) for name in wanted} <= inputs.keys()


def test_options_are_parsed_into_objects():
    args = parse("draft --prompts p.txt --samples 2 --vae v.pt --t5 t5 --output o")
    assert parse_options(PromptOptions, args) == PromptOptions(prompt=None, prompts="p.txt", samples=2)
    components = parse_options(ComponentOptions, args)
    assert components.named_files() == {"vae": Path("v.pt"), "text": Path("t5")}
    assert parse_options(OutputOptions, args).checked_crf() == 17


def test_one_text_encoder_at_most():
    components = parse_options(ComponentOptions, parse("info --t5 a --text b"))
    with pytest.raises(InputError, match="give one of --t5, --embeddings and --text"):
        components.named_files()


def test_sizes_are_height_by_width():
    assert parse_size("1072X1920") == (1072, 1920)
    for text in ("1072", "1072x", "axb", "1x2x3"):
        with pytest.raises(argparse.ArgumentTypeError, match="write HEIGHTxWIDTH"):
            parse_size(text)
