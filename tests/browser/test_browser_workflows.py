"""Every workflow in the real editor in Chromium: with a live server, and without ComfyUI on recorded definitions."""

import pytest
from support.comfy_server import ComfyServer, requires_comfyui
from support.editor import Editor, requires_browser
from support.editor_server import EditorServer, requires_frontend
from test_workflows import NAMES, api, workflow

pytestmark = [pytest.mark.browser, requires_browser]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(EditorServer, marks=requires_frontend, id="recorded"),
        pytest.param(ComfyServer, marks=[pytest.mark.comfyui, requires_comfyui], id="live"),
    ],
)
def editor(request):
    with request.param() as server, Editor(server.url) as running:
        running.kind = "live" if request.param is ComfyServer else "recorded"
        yield running


@pytest.mark.parametrize("name", NAMES)
def test_opens_and_converts(editor, name):
    editor.open(workflow(name))
    editor.fit()
    editor.screenshot(f"{name}-{editor.kind}.png")
    assert editor.missing_nodes() == []
    assert editor.to_prompt() == api(name)
    assert editor.errors() == []


@pytest.mark.parametrize("name", NAMES)
def test_saved_again_it_is_the_same(editor, name):
    """What the editor writes after loading has the same nodes, values and links as the file."""
    editor.open(workflow(name))
    assert essence(editor.to_workflow()) == essence(workflow(name))


def essence(graph: dict) -> tuple:
    nodes = {n["id"]: (n["type"], n.get("widgets_values")) for n in graph["nodes"]}
    return nodes, sorted(tuple(link) for link in graph["links"])


def test_review_node_shows_its_panel(editor):
    editor.open(workflow("released-two-stage-with-review"))
    page = editor.page
    assert page.get_by_role("button", name="Make drafts").is_visible()
    assert page.get_by_role("button", name="Refine this draft").is_disabled()
    assert page.get_by_role("status").filter(has_text="No drafts yet.").count() == 1
    assert editor.errors() == []


def test_the_editor_offers_the_missing_weights(editor):
    editor.open(workflow("released-two-stage-with-review"))
    page = editor.page
    page.get_by_role("button", name="View details").first.click()
    for file in ("stage1.pt", "stage2.pt", "3d-vae.pt", "t5xxl_fp16.safetensors"):
        page.get_by_text(file, exact=True).first.wait_for()
    assert page.get_by_text("Download", exact=True).count() == 4
    editor.screenshot(f"missing-weights-{editor.kind}.png")
