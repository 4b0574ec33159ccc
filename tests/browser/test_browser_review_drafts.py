"""Which draft is refined: the one that is seen, as it was made, whatever has become of the widgets since."""

import pytest
from support.editor import requires_browser
from support.review_panel import RENDERINGS, SEED_NODE

pytestmark = [
    pytest.mark.browser,
    pytest.mark.comfyui,
    requires_browser,
    pytest.mark.parametrize("editor", RENDERINGS, indirect=True),
]

RANDOMIZE = """(type) => {
  const widgets = app.rootGraph.nodes.find((n) => n.type === type).widgets;
  widgets.find((w) => w.options?.values?.includes?.('randomize')).value = 'randomize';
}"""


def test_a_seed_that_is_drawn_after_each_run(review):
    """control_after_generate = randomize, which a fresh Stage 1 has."""
    review.page.evaluate(RANDOMIZE, "FlashVideoStage1")
    seed = review.value("FlashVideoStage1", "seed")
    review.press("Run")
    review.wait_for_status("Choose a draft")
    assert review.value("FlashVideoStage1", "seed") != seed
    review.choose(1)
    refined = review.refine()
    assert refined["9"]["inputs"] == {"latent": review.latent(0, 1)}
    assert review.sets()[0]["prompt"]["7"]["inputs"]["seed"] == seed
    assert "7" not in refined
    assert f"seed {seed + 1}" in review.page.locator(".flashvideo-review label").nth(1).inner_text()


def test_an_edited_prompt(review):
    review.press("Make drafts")
    text = review.value("FlashVideoTextEncode", "prompt")
    find = "(text) => [...document.querySelectorAll('textarea')].find((field) => field.value === text)"
    review.look_at("FlashVideoTextEncode")
    review.page.evaluate_handle(find, text).as_element().click()
    review.page.keyboard.press("Control+A")
    review.page.keyboard.type("a small red circle")
    assert review.value("FlashVideoTextEncode", "prompt") == "a small red circle"
    review.editor.fit()
    refined = review.refine()
    assert refined["9"]["inputs"] == {"latent": review.latent(0, 0)}
    assert refined["6"]["inputs"]["prompt"] == text  # stage 2 reads what stage 1 has read
    assert review.value("FlashVideoTextEncode", "prompt") == "a small red circle"


def test_a_seed_node_at_random(review):
    review.page.evaluate(SEED_NODE)
    review.page.evaluate(RANDOMIZE, "PrimitiveInt")
    seed = review.value("PrimitiveInt", "value")
    review.press("Run")
    review.wait_for_status("Choose a draft")
    assert review.value("PrimitiveInt", "value") != seed
    assert review.refine()["9"]["inputs"] == {"latent": review.latent(0, 0)}
    assert f"seed {seed}" in review.page.locator(".flashvideo-review label").first.inner_text()


def test_new_drafts_that_were_interrupted(review):
    review.press("Make drafts")
    shown = review.sources()
    review.edit("FlashVideoStage1", "steps", 900)
    review.click("New drafts (next seed)")
    review.page.wait_for_function("() => heard.some(([name, { value }]) => name === 'progress' && value > 0)")
    review.press("Cancel current run", "execution_interrupted")
    review.wait_for_status("Stopped before it was done.")
    assert review.sources() == shown
    assert review.refine()["9"]["inputs"] == {"latent": review.latent(0, 0)}


def test_several_drafts_and_earlier_sets(review):
    review.press("Make drafts")
    first = review.sources()
    review.press("New drafts (next seed)")
    second = review.sources()
    review.choose(1)
    assert review.refine()["9"]["inputs"] == {"latent": review.latent(1, 1)}
    review.click("Earlier drafts")
    assert review.sources() == first
    for draft in (0, 1):
        review.choose(draft)
        assert review.refine()["9"]["inputs"] == {"latent": review.latent(0, draft)}
    review.click("Later drafts")
    assert review.sources() == second


def test_a_graph_that_no_longer_fits_is_refused_in_words(review):
    """Another text node feeds both stages: the drafts were not made from its prompt."""
    review.press("Make drafts")
    review.page.evaluate("""() => {
      const find = (type) => app.rootGraph.nodes.find((n) => n.type === type);
      const [old, clip] = [find('FlashVideoTextEncode'), find('FlashVideoTextEncoderLoader')];
      const text = LiteGraph.createNode('FlashVideoTextEncode');
      app.rootGraph.add(text);
      clip.connect(0, text, text.findInputSlot('clip'));
      for (const [type, output] of [['FlashVideoStage1', 0], ['FlashVideoStage2', 1]]) {
        text.connect(output, find(type), find(type).findInputSlot('positive'));
      }
      app.rootGraph.remove(old);
    }""")
    before = review.saved_clips()
    review.click("Refine this draft")
    review.wait_for_status("is not what it was when these drafts were made")
    assert review.saved_clips() == before


def test_drafts_of_an_older_workflow(review):
    """It has the files alone: they are shown, and refused in words where their latents are needed."""
    workflow = review.editor.to_workflow()
    (node,) = [n for n in workflow["nodes"] if n["type"] == "FlashVideoReview"]
    node["properties"]["drafts"] = [{"filename": "flashvideo_draft_0.mp4", "subfolder": "", "type": "temp"}]
    review.open(workflow)
    review.page.get_by_text("No longer on the server").wait_for()
    review.click("Refine this draft")
    review.wait_for_status("did not keep their latents")
    review.press("New drafts (next seed)")
    assert len(review.sources()) == 2
    review.refine()
    review.editor.complaints.clear()  # of the missing file
