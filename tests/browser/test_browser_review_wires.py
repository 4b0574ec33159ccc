"""The review node where values come over wires, in subgraphs, muted, and beside other tabs of the same workflow."""

import pytest
from support.editor import requires_browser
from support.review_panel import RENDERINGS, SEED_NODE

pytestmark = [
    pytest.mark.browser,
    pytest.mark.comfyui,
    requires_browser,
    pytest.mark.parametrize("editor", RENDERINGS, indirect=True),
]

WIRE_CHOICE = """() => {
  const number = LiteGraph.createNode('PrimitiveInt');
  app.rootGraph.add(number);
  number.pos = [0, 900];
  const review = app.rootGraph.nodes.find((n) => n.type === 'FlashVideoReview');
  number.connect(0, review, review.findInputSlot('choice'));
}"""
MODE = "(mode) => { app.rootGraph.nodes.find((n) => n.type === 'FlashVideoReview').mode = mode; }"
TO_SUBGRAPH = """(types) => {
  const nodes = app.rootGraph.nodes.filter((n) => types.includes(n.type) && n.title !== 'FlashVideo Decode');
  return app.rootGraph.convertToSubgraph(new Set(nodes)).node.id;
}"""
ENTER = "(id) => app.canvas.openSubgraph(app.rootGraph.getNodeById(id).subgraph, app.rootGraph.getNodeById(id))"
NAME = "() => app.extensionManager.workflow.activeWorkflow.filename"


def test_a_seed_over_a_wire_is_moved_where_it_lives(review):
    review.page.evaluate(SEED_NODE)
    seed = review.value("PrimitiveInt", "value")
    review.press("Make drafts")
    first = review.sources()
    review.press("New drafts (next seed)")
    assert review.value("PrimitiveInt", "value") == seed + 2
    assert len(set(first + review.sources())) == 4


def test_a_seed_that_cannot_be_moved_is_said(review):
    review.page.evaluate(SEED_NODE)
    review.page.evaluate("""() => {
      const find = (type) => app.rootGraph.nodes.find((n) => n.type === type);
      const [seeds, stage1] = [find('PrimitiveInt'), find('FlashVideoStage1')];
      const sum = LiteGraph.createNode('ComfyMathExpression');
      sum.pos = [0, 1100];
      app.rootGraph.add(sum);
      sum.widgets.find((w) => w.name === 'expression').value = 'a + 0';
      seeds.connect(0, sum, sum.inputs.findIndex((input) => input.name.endsWith('a')));
      sum.connect(1, stage1, stage1.findInputSlot('seed'));
    }""")
    seed = review.value("PrimitiveInt", "value")
    review.press("Make drafts")
    assert "seed over a wire" in review.page.locator(".flashvideo-review label").first.inner_text()
    review.click("New drafts (next seed)")
    review.wait_for_status("where this panel cannot set it: set it there.")
    assert review.value("PrimitiveInt", "value") == seed


def test_a_choice_over_a_wire(review):
    review.page.evaluate(WIRE_CHOICE)
    review.press("Make drafts")
    review.choose(1)
    review.page.wait_for_function(
        "() => app.rootGraph.nodes.find((n) => n.type === 'PrimitiveInt').widgets[0].value === 1"
    )
    assert review.refine()["9"]["inputs"] == {"latent": review.latent(0, 1)}


@pytest.mark.parametrize("mode", [2, 4], ids=["muted", "bypassed"])
def test_a_review_that_does_not_run_moves_no_seed(review, mode):
    review.press("Make drafts")
    seed = review.value("FlashVideoStage1", "seed")
    review.page.evaluate(MODE, mode)
    for name in ("New drafts (next seed)", "Refine this draft"):
        review.page.get_by_role("button", name=name, exact=True).dispatch_event(
            "click"
        )  # the editor greys the node out
        review.wait_for_status("muted or bypassed: activate it first.")
    assert review.value("FlashVideoStage1", "seed") == seed


@pytest.mark.parametrize("types", [["FlashVideoStage1"], ["FlashVideoReview", "FlashVideoDecode"]], ids=lambda t: t[0])
def test_one_side_in_a_subgraph(review, types):
    """Stage 1 in one with the review outside, and the other way round."""
    subgraph = review.page.evaluate(TO_SUBGRAPH, types)
    if "FlashVideoReview" in types:
        review.page.evaluate(ENTER, subgraph)
    review.editor.fit()
    review.press("Make drafts")
    first, before = review.sources(), seeds(review)
    review.press("New drafts (next seed)")
    assert seeds(review) == [before[0] + 2]
    assert len(set(first + review.sources())) == 4
    clips = review.saved_clips()
    review.press("Refine this draft")
    assert len(review.saved_clips() - clips) == 1


def seeds(review) -> list[int]:
    """Of Stage 1 in the prompt."""
    nodes = review.editor.to_prompt().values()
    return [node["inputs"]["seed"] for node in nodes if node["class_type"] == "FlashVideoStage1"]


def test_another_tab_of_the_same_workflow_shows_its_own(review):
    page, workflow = review.page, review.editor.to_workflow()
    assert workflow["id"]
    review.edit("FlashVideoStage1", "steps", 60)
    review.click("Make drafts")
    first = page.evaluate(NAME)
    review.open(workflow)  # a second tab of the same template, while the first one's run goes on
    second = page.evaluate(NAME)
    assert second != first
    review.wait()
    assert review.sources() == []
    assert review.status() == "No drafts yet."
    review.press("Make drafts")
    own = review.sources()
    assert len(own) == 2

    page.locator(".workflow-tab").filter(has=page.get_by_text(first, exact=True)).click()
    page.wait_for_function("() => document.querySelectorAll('.flashvideo-review video').length === 2")
    assert set(review.sources()).isdisjoint(own)
    assert len(review.sets()) == 1  # fetched from the history
    page.locator(".workflow-tab").filter(has=page.get_by_text(second, exact=True)).click()
    page.wait_for_function("(own) => document.querySelector('.flashvideo-review video')?.src === own", arg=own[0])
    assert len(review.sets()) == 1


def test_a_tab_of_the_same_workflow_gets_cached_drafts_as_its_own(review):
    workflow = review.editor.to_workflow()
    review.press("Make drafts")
    shown = review.sources()
    review.open(workflow)
    assert review.sources() == []
    review.press("Make drafts")
    assert review.sources() == shown
