"""What texts say of nodes, options and buttons is what the code has: help pages, notes of workflows, README, --help."""

import argparse
import re

import pytest
from safetensors import safe_open
from support.comfyui import PACK
from support.editor_server import FILE_INPUTS
from support.make_texts import HELP, help_head, help_rest, list_inputs, our_nodes
from support.workflow_files import NAMES, load_workflow

from flashvideo_core.cli.parser import build_parser
from flashvideo_core.components import TINY
from flashvideo_core.config import STAGE2_DEFAULTS, from_json

NODES = our_nodes()
COMFYUI = {  # what the editor and ComfyUI's own nodes are called
    *("Run", "Load CLIP", "Load Latent", "Save Latent", "Load Video", "Save Video", "VAE Decode", "KSampler"),
    *("CFG Override", "Workflow, Browse Templates, Extensions, ComfyUI-FlashVideo, tiny-two-stage"),
    *("Custom Nodes Manager", "Install via Git URL", "ComfyUI-Manager / Registry", "git", "portable (Windows)"),
}


def emphasised(text: str) -> set[str]:
    """The phrases in italics or bold, of one line each, without code."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.S)
    return {found.strip("*") for found in re.findall(r"(?<![\w*])\*{1,2}[^*\n]+\*{1,2}(?![\w*])", text)}


def button_labels() -> set[str]:
    """Every text in the panel's code, the labels of its buttons among them."""
    code = "".join(path.read_text() for path in (PACK / "nodes" / "web").glob("*.js"))
    return {text for _, text in re.findall(r"""(["'`])((?:(?!\1).)+)\1""", code)}


def inputs_and_outputs() -> set[str]:
    return {name for info in NODES.values() for name in [*list_inputs(info), *info["output_name"]]}


def names_of_nodes() -> set[str]:
    """Also without the pack's name before them."""
    shown = {info["display_name"] for info in NODES.values()}
    return shown | {name.removeprefix("FlashVideo ") for name in shown}


def options_of(input_name: str) -> set[str]:
    """Of an input of this name, in whichever node; without the files of loaders."""
    specs = [spec for info in NODES.values() for name, spec in list_inputs(info).items() if name == input_name]
    return {str(option) for spec in specs for option in spec.get("options") or ()}


def notes(name: str) -> str:
    """The notes of a shipped workflow."""
    nodes = load_workflow(name)["nodes"]
    return "\n".join(node["widgets_values"][0] for node in nodes if node["type"] == "MarkdownNote")


@pytest.mark.parametrize("name", NODES)
def test_a_help_page_begins_with_what_the_schema_says(name):
    """`python tests/support/make_texts.py` writes it."""
    page = (HELP / f"{name}.md").read_text()
    assert page == help_head(NODES[name]) + help_rest(page)


def test_every_node_has_a_help_page_and_no_page_is_left_over():
    assert {path.stem for path in HELP.glob("*.md")} == set(NODES)


TEXTS = {
    **{f"help of {name}": help_rest((HELP / f"{name}.md").read_text()) for name in NODES},
    **{f"notes of {name}": notes(name) for name in NAMES},
    "README": (PACK / "README.md").read_text().partition("## Links")[0],
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
def test_what_is_emphasised_exists_by_that_name(text):
    """A button, a node, an input, an option, a workflow, a file; anything else is written without emphasis."""
    known = COMFYUI | button_labels() | inputs_and_outputs() | names_of_nodes() | set(NAMES)
    known |= {option for name in inputs_and_outputs() for option in options_of(name)}
    files = r"[\w./-]+\.\w+|\.\w+|(?:models|input|output|FlashVideo)(?:/\w+)*|ComfyUI|custom"
    strange = {phrase for phrase in emphasised(text) - known if not re.fullmatch(files, phrase.rstrip(":"))}
    assert strange == set()


PROSE = {**TEXTS, **{path.name: path.read_text() for path in [*(PACK / "docs").glob("*.md"), PACK / "CHANGELOG.md"]}}


@pytest.mark.parametrize("text", PROSE.values(), ids=list(PROSE))
def test_values_that_are_named_after_an_input_are_its_options(text):
    """As in `weight_dtype` fp8_e4m3fn, *target* `custom` or Decode `tiling` small."""
    for name, value in re.findall(r"[`*]+(\w+)[`*]+ (?:to |in |is )?[`*]*(\w[\w.]*)", text):
        options = options_of(name)
        value = value.rstrip(".")
        if options and value not in {"and", "in", "of", "to", "with"}:
            assert value in {word for option in options for word in (option, option.split()[0])}, (name, value)


def test_what_a_tooltip_explains_are_options_of_its_input():
    """As in "off: the whole picture. large, medium, small: tiles"."""
    explained = 0
    for info in NODES.values():
        for name, spec in list_inputs(info).items():
            options = {str(option) for option in spec.get("options") or ()}
            for phrase in re.findall(r"(?:^|\. )([\w ,]+): ", spec["tooltip"]) if options else ():
                explained += 1
                assert set(phrase.split(", ")) <= options or name in FILE_INPUTS, (name, phrase)
    assert explained > 8


def test_the_tiny_models_values_are_those_stored_with_its_weights():
    inputs_of_stage = {
        1: ("steps", "cfg", "guidance", "preset", "frames"),
        2: ("steps", "cfg", "shift", "noise_step"),
    }
    for stage, inputs in inputs_of_stage.items():
        with safe_open(TINY / f"stage{stage}.safetensors", "pt") as file:
            defaults = from_json(file.metadata()["config"]).defaults
        height, width = defaults.size
        values = {"preset": f"tiny {width}x{height}", "noise_step": defaults.ref_step}
        said = ", ".join(f"{name} `{shown(values.get(name, getattr(defaults, name, None)))}`" for name in inputs)
        assert f"For the tiny model: {said}." in (HELP / f"FlashVideoStage{stage}.md").read_text()


def shown(value: float | str) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def test_the_sampler_that_does_the_same_has_the_defaults_of_stage_2():
    said = f"*KSampler* (euler, simple, steps `{STAGE2_DEFAULTS.steps}`, cfg `{STAGE2_DEFAULTS.cfg:g}`)"
    assert said in (HELP / "FlashVideoStage2.md").read_text()


def list_parsers(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    below = [sub for a in parser._actions if isinstance(a, argparse._SubParsersAction) for sub in a.choices.values()]
    return [parser, *(found for sub in below for found in list_parsers(sub))]


def test_defaults_in_help_are_those_of_the_options():
    said = 0
    for parser in list_parsers(build_parser()):
        for action in parser._actions:
            named = re.search(r"\(default: ([^)]*)\)", action.help or "")
            if named and action.default is not None:
                said += 1
                assert named[1].split(",")[0] == shown(action.default), (parser.prog, action.dest)
    assert said > 5
