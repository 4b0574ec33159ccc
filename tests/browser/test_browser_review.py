"""The review node in the real editor, with mouse and keyboard, from the first drafts to the finished clip."""

import json

import pytest
from support.editor import requires_browser
from support.workflow_files import on_tiny

from flashvideo_core.media.video_reader import read_video

pytestmark = [pytest.mark.browser, pytest.mark.comfyui, requires_browser]

PLAYING = (
    "() => [...document.querySelectorAll('.flashvideo-review video')].filter((v) => v.currentTime > 0).length === 2"
)


def test_from_drafts_to_the_finished_clip(review):
    page = review.page
    assert review.executed(review.press("Make drafts")).isdisjoint({"FlashVideoHandoff", "SaveVideo"})
    page.wait_for_function(PLAYING)
    review.editor.screenshot(f"review-{review.editor.kind}.png")

    review.choose(1)
    assert review.value("FlashVideoReview", "choice") == 1
    shown, before = review.sources(), review.saved_clips()
    ran = review.executed(review.press("Refine this draft"))
    behind = {"FlashVideoHandoff", "FlashVideoStage2", "FlashVideoDecode", "SaveVideo"}
    assert ran - {"FlashVideoModelLoader"} == behind | {"FlashVideoReview"}  # whose place Load Latent takes
    (made,) = review.saved_clips() - before
    assert read_video(made).frames.shape == (5, 64, 96, 3)
    assert review.sources() == shown  # the drafts play on
    assert review.value("FlashVideoReview", "decision") == "review"
    page.locator("video[src*=output]:not(.flashvideo-review video)").first.wait_for()
    review.editor.screenshot(f"review-finished-{review.editor.kind}.png")
    assert review.editor.errors() == []


def test_new_drafts_take_seeds_not_yet_seen(review):
    review.press("Make drafts")
    seed, first = review.value("FlashVideoStage1", "seed"), review.sources()
    review.press("New drafts (next seed)")
    assert review.value("FlashVideoStage1", "seed") == seed + 2
    assert len(set(first + review.sources())) == 4


def test_run_is_held_back_at_the_review(review):
    before = review.saved_clips()
    review.press("Run")
    review.wait_for_status("Choose a draft")
    assert len(review.sources()) == 2
    assert review.saved_clips() == before


def test_by_keyboard(review):
    review.press("Make drafts")
    page = review.page
    page.locator(".flashvideo-review input").first.focus()
    page.keyboard.press("ArrowRight")
    assert review.value("FlashVideoReview", "choice") == 1
    for name in ("Enlarge draft 1", "Refine this draft", "New drafts (next seed)"):
        page.keyboard.press("Tab")
        focused = page.evaluate("() => document.activeElement.ariaLabel ?? document.activeElement.textContent")
        assert focused == name
    page.keyboard.press("Shift+Tab")
    page.evaluate("() => heard.splice(0)")
    page.keyboard.press("Space")
    assert "SaveVideo" in review.executed(review.wait())


def test_drafts_outlive_a_reload_of_the_workflow(review):
    review.press("Make drafts")
    shown = review.sources()
    saved = review.editor.to_workflow()
    review.open(saved)
    assert review.sources() == shown
    assert "drafts" not in json.dumps(on_tiny(review.editor.to_prompt())["9"]["inputs"])


def test_the_text_follows_the_run(review):
    """Queued, at work with the node's name, done; failed with the server's words."""
    record = """() => {
      const status = document.querySelector('.flashvideo-review [role=status]');
      window.said = [];
      new MutationObserver(() => said.push(status.textContent)).observe(status, { childList: true });
    }"""
    assert review.status() == "No drafts yet."
    review.page.evaluate(record)
    review.edit("FlashVideoStage1", "steps", 30)
    review.press("Make drafts")
    review.wait_for_status("Choose a draft")
    said = review.page.evaluate("() => said")
    assert said[0] == "Queued."
    assert any(text.startswith("Running: “FlashVideo Stage 1 (drafts)” (#7)") and "of 60" in text for text in said), (
        said
    )
    review.press("Refine this draft")
    review.wait_for_status("Refined.")

    review.edit("FlashVideoHandoff", "target", "custom")
    review.page.evaluate("() => app.rootGraph.nodes.find((n) => n.type === 'FlashVideoHandoff').disconnectInput(0)")
    review.click("Refine this draft")
    review.wait_for_status("Required input is missing")


def test_a_node_that_fails_is_named(review):
    review.press("Make drafts")
    review.page.evaluate("""() => {
      const [model] = app.rootGraph.nodes.filter((n) => n.type === 'FlashVideoModelLoader');
      const stage2 = app.rootGraph.nodes.find((n) => n.type === 'FlashVideoStage2');
      model.connect(0, stage2, stage2.findInputSlot('model'));
    }""")
    review.press("Refine this draft", "execution_error")
    review.wait_for_status("Failed in “FlashVideo Stage 2 (refine)”")
    assert "stage-1 model" in review.status()
