"""Every workflow in the real editor in Chromium: live, live with the newest frontend, and on recorded definitions."""

import contextlib
import json
from typing import Any

import pytest
from support.comfyui import PACK, Prompt, Workflow
from support.editor import Editor, requires_browser
from support.editor_server import EditorServer, requires_frontend
from support.workflow_files import NAMES, inputs_of, load_prompt, load_workflow

pytestmark = [pytest.mark.browser, requires_browser]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("recorded", marks=requires_frontend),
        pytest.param("live", marks=pytest.mark.comfyui),
        pytest.param("newest", marks=pytest.mark.comfyui),
    ],
)
def editor(request):
    with contextlib.ExitStack() as stack:
        servers = {"live": "server", "newest": "newest_server"}
        live = servers.get(request.param)
        server = request.getfixturevalue(live) if live else stack.enter_context(EditorServer())
        running = stack.enter_context(Editor(server.url))
        running.kind = request.param
        yield running


@pytest.mark.parametrize("name", NAMES)
def test_opens_and_converts(editor, name):
    editor.open(load_workflow(name))
    editor.fit()
    editor.screenshot(f"{name}-{editor.kind}.png")
    assert editor.missing_nodes() == []
    assert editor.to_prompt() == load_prompt(name)
    assert editor.errors() == []


@pytest.mark.parametrize("name", NAMES)
def test_saved_again_it_is_the_same(editor, name):
    """What the editor writes after loading has the same nodes, values and links as the file."""
    editor.open(load_workflow(name))
    assert essence(editor.to_workflow()) == essence(load_workflow(name))


def essence(graph: Workflow) -> tuple[dict[int, Any], list[Any]]:
    """Types and values of the nodes, and the links."""
    nodes = {n["id"]: (n["type"], n.get("widgets_values")) for n in graph["nodes"]}
    return nodes, sorted(tuple(link) for link in graph["links"])


def test_review_node_shows_its_panel(editor):
    editor.open(load_workflow("released-two-stage-with-review"))
    page = editor.page
    assert page.get_by_role("button", name="Make drafts").is_visible()
    assert page.get_by_role("button", name="Refine this draft").is_disabled()
    assert page.get_by_role("status").filter(has_text="No drafts yet.").count() == 1
    assert editor.errors() == []


def test_the_editor_offers_the_missing_weights(editor):
    editor.open(load_workflow("released-two-stage-with-review"))
    page = editor.page
    page.get_by_role("button", name="View details").first.click()
    for file in ("stage1.pt", "stage2.pt", "3d-vae.pt", "t5xxl_fp16.safetensors"):
        page.get_by_text(file, exact=True).first.wait_for()
    assert page.get_by_text("Download", exact=True).count() == 4
    editor.screenshot(f"missing-weights-{editor.kind}.png")


def test_the_blueprint_opens_as_one_node_with_the_released_values(editor):
    """The editor shows an error for every blueprint that it cannot read; this one is beside the nodes of every user."""
    (path,) = (PACK / "subgraphs").glob("*.json")
    editor.open(json.loads(path.read_text()))
    assert editor.page.locator(".p-toast-message-error").count() == 0
    prompt, template = editor.to_prompt(), load_prompt("released-two-stage-with-review")
    for kind in ("FlashVideoTextEncode", "FlashVideoHandoff", "FlashVideoStage2", "CLIPLoader"):
        assert widgets_of(prompt, kind) == widgets_of(template, kind)
    assert widgets_of(prompt, "FlashVideoStage1") == widgets_of(template, "FlashVideoStage1") | {"drafts": 1}
    shown = editor.page.evaluate("() => app.graph.nodes[0].widgets.map(w => w.label || w.name)")
    assert {"prompt", "seed", "refine seed", "preset", "target", "stage 1 model", "stage 2 model"} <= set(shown)
    assert editor.errors() == []
    if editor.kind == "live":
        offered = editor.page.evaluate("async () => (await fetch('/api/global_subgraphs')).json()")
        assert path.stem in {blueprint["name"] for blueprint in offered.values()}


def widgets_of(prompt: Prompt, class_type: str) -> dict[str, Any]:
    """What is not a link, of the only node of a class."""
    return {name: value for name, value in inputs_of(prompt, class_type).items() if not isinstance(value, list)}
