"""The live preview in motion, in the real editor: frames take turns in the node until it is through."""

import base64
import io

import pytest
from PIL import Image
from support.editor import Editor, requires_browser
from support.editor_server import EditorServer, requires_frontend
from support.workflow_files import load_workflow

pytestmark = [pytest.mark.browser, requires_browser, requires_frontend]

COUNT = """() => {
  window.shown = [];
  comfyAPI.api.api.addEventListener("b_preview_with_metadata", ({ detail }) => window.shown.push(detail.blob));
}"""
SEND = "([type, detail]) => comfyAPI.api.api.dispatchCustomEvent(type, detail)"
SHOWN = {  # by Nodes 2.0
    False: "id => app.graph.getNodeById(id).imgs?.[0].naturalWidth === 96",
    True: "id => document.querySelector(`[data-node-id='${id}'] img`)?.naturalWidth === 96",
}
FIND = "() => app.graph.nodes.find(node => node.type === 'FlashVideoStage1').id"


def make_frames() -> list[str]:
    frames = []
    for colour in ("red", "green", "blue"):
        file = io.BytesIO()
        Image.new("RGB", (96, 64), colour).save(file, "JPEG")
        frames.append(base64.b64encode(file.getvalue()).decode())
    return frames


@pytest.mark.parametrize("vue_nodes", [False, True])
def test_frames_take_turns_until_the_node_is_through(vue_nodes):
    with EditorServer() as server, Editor(server.url, vue_nodes=vue_nodes) as editor:
        page = editor.page
        editor.open(load_workflow("tiny-two-stage"))
        editor.fit()
        node = str(page.evaluate(FIND))
        page.evaluate(COUNT)
        message = {"node": node, "prompt_id": "1", "frames": make_frames()}
        page.evaluate(SEND, ["flashvideo_preview", message])
        page.wait_for_function("() => new Set(window.shown).size === 3 && window.shown.length > 4")
        page.wait_for_function(SHOWN[vue_nodes], arg=node)
        editor.screenshot(f"preview-{'vue' if vue_nodes else 'classic'}.png")
        page.evaluate(SEND, ["executing", "another node"])
        before = page.evaluate("() => window.shown.length")
        page.wait_for_timeout(600)
        assert page.evaluate("() => window.shown.length") == before
        assert editor.errors() == []
