"""The shipped workflows and help pages as files: complete, made of known nodes and values, with pictures."""

import pytest
from PIL import Image
from safetensors import safe_open
from support.comfyui import PACK
from support.editor_server import FILE_INPUTS, recorded
from support.workflow_files import NAMES, WORKFLOWS, inputs_of, load_prompt, load_workflow

from flashvideo_core.components import TINY
from flashvideo_core.config import from_json

IN_EDITOR_ONLY = {"MarkdownNote"}
LOADERS = {"FlashVideoModelLoader", "FlashVideoVAELoader", "FlashVideoLoRALoader", "CLIPLoader"}


def test_the_eight_workflows_are_there():
    assert NAMES == [
        "faster-stage-2",
        "low-memory",
        "refine-a-long-video",
        "refine-a-video",
        "released-two-stage-with-review",
        "resume-from-draft",
        "tiny-one-evaluation",
        "tiny-two-stage",
    ]
    assert sorted(path.stem for path in (WORKFLOWS / "api").iterdir()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_has_a_picture_for_the_template_browser(name):
    with Image.open(WORKFLOWS / f"{name}.jpg") as picture:
        assert picture.width >= 800
    assert (WORKFLOWS / f"{name}.jpg").stat().st_size < 400_000


@pytest.mark.parametrize("name", NAMES)
def test_both_forms_have_the_same_nodes(name):
    shown = {str(n["id"]): n["type"] for n in load_workflow(name)["nodes"] if n["type"] not in IN_EDITOR_ONLY}
    assert shown == {id: node["class_type"] for id, node in load_prompt(name).items()}


@pytest.mark.parametrize("name", NAMES)
def test_inputs_and_values_are_those_of_the_nodes(name):
    infos = recorded()
    for node in load_prompt(name).values():
        required, optional = (infos[node["class_type"]]["input"].get(k, {}) for k in ("required", "optional"))
        assert set(required) <= set(node["inputs"]), node
        for key, value in node["inputs"].items():
            spec = {**required, **optional}.get(key.split(".")[0])
            assert spec is not None, (node["class_type"], key)
            options = spec[0] if isinstance(spec[0], list) else spec[1].get("options") if len(spec) > 1 else None
            if options and key not in FILE_INPUTS and "." not in key and not isinstance(options[0], dict):
                assert value in options, (node["class_type"], key, value)


@pytest.mark.parametrize("name", NAMES)
def test_missing_weights_are_offered_for_download(name):
    for node in load_workflow(name)["nodes"]:
        if node["type"] not in LOADERS:
            continue
        file = node["widgets_values"][0]
        offered = node["properties"].get("models", [])
        if "(embedded)" in file:
            assert offered == []
        else:
            assert [model["name"] for model in offered] == [file]
            assert offered[0]["url"].startswith("https://huggingface.co/")
            assert offered[0]["url"].endswith("/" + file)
            assert offered[0]["directory"] in ("diffusion_models", "vae", "text_encoders")


def test_seeds_stay_fixed():
    """A seed that moves on after each run would throw the reviewed drafts away."""
    for name in NAMES:
        for node in load_workflow(name)["nodes"]:
            if node["type"] in ("FlashVideoStage1", "FlashVideoStage2"):
                assert "fixed" in node["widgets_values"]


def test_tiny_uses_the_values_stored_with_its_weights():
    prompt = load_prompt("tiny-two-stage")
    for stage, names in (
        (1, {"steps": "steps", "cfg": "cfg", "guidance": "guidance", "frames": "frames"}),
        (2, {"steps": "steps", "cfg": "cfg", "shift": "shift", "noise_step": "ref_step"}),
    ):
        inputs = inputs_of(prompt, f"FlashVideoStage{stage}")
        with safe_open(TINY / f"stage{stage}.safetensors", "pt") as file:
            defaults = from_json(file.metadata()["config"]).defaults
        assert {key: inputs[key] for key in names} == {key: getattr(defaults, name) for key, name in names.items()}


def test_every_node_has_a_help_page_that_names_every_input():
    for name, info in recorded().items():
        if name.startswith("FlashVideo"):
            page = (PACK / "nodes" / "web" / "docs" / f"{name}.md").read_text()
            for key in [*info["input"].get("required", {}), *info["input"].get("optional", {})]:
                assert f"**{key}**" in page, (name, key)


def test_the_browser_code_asks_no_network():
    code = "".join(path.read_text() for path in (PACK / "nodes" / "web").rglob("*.js"))
    assert "http" not in code
    assert "import(" not in code
