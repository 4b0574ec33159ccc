"""The memory plan under the nodes, in the real editor on a live server: before a run, and after a change."""

import pytest
from support.editor import Editor, requires_browser
from support.workflow_files import load_prompt, load_workflow

pytestmark = [pytest.mark.browser, pytest.mark.comfyui, requires_browser]

TINY = "tiny-two-stage"
STAGE1, STAGE2, DECODE = 7, 11, 12
READ_LINE = """id => app.graph.getNodeById(id).widgets.find(({ name }) => name === 'memory plan').element.textContent"""
READ_LINES = """() => app.graph.nodes.flatMap(({ widgets = [] }) => widgets)
  .filter(({ name }) => name === 'memory plan').map(({ element }) => element.textContent)"""
PLUS_OF_FRAMES = """() => {
  const node = app.graph.getNodeById(7);
  const { y } = node.widgets.find(({ name }) => name === 'frames');
  return app.canvasPosToClientPos([node.pos[0] + node.size[0] - 25, node.pos[1] + y + 10]);
}"""


@pytest.fixture(params=[False, True], ids=["classic", "nodes2"])
def editor(request, server):
    with Editor(server.url, vue_nodes=request.param) as running:
        running.kind = "nodes2" if request.param else "classic"
        yield running


def wait_for_line(editor, node, text):
    editor.page.wait_for_function(f"([id, text]) => ({READ_LINE})(id).includes(text)", arg=[node, text])
    return editor.page.evaluate(READ_LINE, node)


def raise_frames(editor):
    """A click on the plus of stage 1's frames."""
    if editor.kind == "classic":
        editor.page.mouse.click(*editor.page.evaluate(PLUS_OF_FRAMES))
    else:
        buttons = editor.page.locator('[data-node-id="7"] button[aria-label*="ncrement"]')
        buttons.nth(buttons.count() - 2).click()  # before that of drafts


def test_the_plan_stands_under_the_nodes_before_a_run(editor):
    editor.open(load_workflow(TINY))
    line = wait_for_line(editor, STAGE1, "128 tokens, guidance in one batch")
    assert " weights + " in line and " work, " in line
    wait_for_line(editor, STAGE2, "1928 tokens, guidance in one batch")
    assert wait_for_line(editor, DECODE, "in one piece").split()[1] == "MB"
    editor.fit()
    raise_frames(editor)  # from 17 to 21
    wait_for_line(editor, STAGE1, "152 tokens")
    wait_for_line(editor, STAGE2, "2312 tokens")
    editor.screenshot(f"memory-plan-{editor.kind}.png")
    assert editor.errors() == []


def test_it_is_neither_queued_nor_saved(editor):
    editor.open(load_workflow(TINY))
    wait_for_line(editor, STAGE1, "tokens")
    assert editor.to_prompt() == load_prompt(TINY)
    saved, given = (
        {n["id"]: n.get("widgets_values") for n in graph["nodes"]}
        for graph in (editor.to_workflow(), load_workflow(TINY))
    )
    assert saved == given


def test_without_the_files_there_is_no_line(editor):
    """The released weights are not on this machine."""
    editor.open(load_workflow("released-two-stage-with-review"))
    editor.page.wait_for_timeout(2000)
    lines = editor.page.evaluate(READ_LINES)
    assert len(lines) >= 4 and not any(lines)
    assert editor.errors() == []
