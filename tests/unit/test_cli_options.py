"""The options of the command line: what they become, and that no number of a run lacks one."""

import argparse
import json
from dataclasses import fields
from pathlib import Path

import pytest

from flashvideo_core.cli.attention_options import named_refine
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
SPEED = {"cfg_epsilon", "cache", "guided_evaluations", "window_height", "window_width", "dense_evaluations"}
SIDES = {"size": {"height", "width"}, "window": {"window_height", "window_width"}}


def parse(command: str) -> argparse.Namespace:
    return build_parser().parse_args(command.split())


def test_what_is_not_named_is_left_to_the_weights():
    args = parse("generate x")
    assert named_settings(args, DRAFT) == named_settings(args, REFINE) == {}


def test_numbers_are_named_by_the_fields_of_the_settings():
    first = "--seed 3 --negative blurry --frames 5 --steps 9 --cfg 4 --guidance constant --height 32"
    second = "--size 64x96 --refine-seed 4 --refine-steps 2 --refine-cfg 5 --shift 3 --noise-step 7"
    first, second = f"{first} --cfg-epsilon 0.05 --cache 0.1", f"{second} --guided-evaluations 1 --match-color low"
    args = parse(f"generate x {first} {second}")
    draft = {"seed": 3, "negative": "blurry", "frames": 5, "steps": 9, "cfg": 4.0, "guidance": "constant", "height": 32}
    refine = {"size": (64, 96), "seed": 4, "steps": 2, "cfg": 5.0, "shift": 3.0, "ref_step": 7}
    draft, refine = draft | {"cfg_epsilon": 0.05, "cache": 0.1}, refine | {"guided_evaluations": 1, "match": "low"}
    assert named_settings(args, DRAFT) == draft
    assert named_settings(args, REFINE) == refine


@pytest.mark.parametrize(("settings", "stage"), [(DraftSettings, DRAFT), (RefineSettings, REFINE)])
def test_every_number_of_a_run_has_an_option(settings, stage):
    """--size and --window are two sides each; --negative of generate is for both stages."""
    named = {name.removeprefix(f"{stage}.") for name in vars(parse("generate x"))}
    named |= {name.removeprefix(f"{stage}.") for name in vars(parse("refine draft.safetensors"))}
    named |= {side for name in named & SIDES.keys() for side in SIDES[name]}
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
    inputs |= NODES["FlashVideoSpeed"]["input"]["required"]
    wanted = {field.name for field in fields(settings) if OPT_IN not in field.metadata or field.name in SPEED}
    assert {renamed.get(name, name) for name in wanted} <= inputs.keys()


@pytest.mark.parametrize(
    ("command", "is_windowed", "named"),
    [
        ("generate x --attention windows", False, {"window": (24, 40)}),
        ("refine d --attention windows --window 16x24", False, {"window": (16, 24)}),
        ("refine d --attention windows --dense-evaluations 1", False, {"window": (24, 40), "dense_evaluations": 1}),
        ("generate --from c --attention windows", True, {}),
        ("generate --from c --dense-evaluations 2", True, {"dense_evaluations": 2}),
        ("generate --from c --window 8X8", True, {"window": (8, 8)}),
        ("generate --from c --attention chunked", True, {"window": (0, 0), "dense_evaluations": 0}),
        ("generate --from c", True, {}),
    ],
)
def test_windows_of_attention(command, is_windowed, named):
    """is_windowed: the clip that is repeated has windows, whose numbers stay where they are not named."""
    assert named_refine(parse(command), is_windowed) == named


def test_a_pattern_is_no_kernel():
    for words, kernel in (("--attention windows", None), ("--attention sage", "sage"), ("", None)):
        assert parse_options(ComponentOptions, parse(f"generate x {words}")).attention == kernel
    with pytest.raises(InputError, match="invalid choice: 'windows'"):
        parse("draft x --attention windows")


@pytest.mark.parametrize(
    ("command", "rule"),
    [
        ("generate x --window 24x40", "--window: only --attention windows has these"),
        ("generate x --dense-evaluations 1", "--dense-evaluations: only --attention windows"),
        ("generate x --attention sage --window 2x2 --dense-evaluations 1", "--window and --dense-evaluations: only"),
        ("generate x --window 24", "'24' is no window; write HEIGHTxWIDTH in tokens"),
        ("generate x --window 0x4", "'0x4' is no window"),
        ("generate x --window -1x4", "expected one argument|'-1x4' is no window"),
    ],
)
def test_numbers_of_windows_without_windows_are_refused(command, rule):
    with pytest.raises(InputError, match=rule):
        named_refine(parse(command))


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
