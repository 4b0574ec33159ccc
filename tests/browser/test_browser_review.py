"""The review node in the real editor, with mouse and keyboard, from the first drafts to the finished clip."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from support.comfyui import Workflow
from support.editor import Editor, requires_browser
from support.workflow_files import load_workflow, on_tiny

from flashvideo_core.media.video_reader import read_video

pytestmark = [pytest.mark.browser, pytest.mark.comfyui, requires_browser]

Event = tuple[str, Any]
"""Name and detail of a message of the server, as the editor's API hears it."""

SEEDS = itertools.count(100, 10)  # new drafts for each test, or the server's cache would have them already
EVENTS = ("execution_cached", "executing", "execution_success", "execution_error", "execution_interrupted")
LISTEN = """(names) => {
  window.heard = [];
  for (const name of names) app.api.addEventListener(name, ({ detail }) => heard.push([name, detail]));
}"""


@pytest.fixture(scope="module", params=[False, True], ids=["classic", "nodes2"])
def editor(server, request):
    with Editor(server.url, vue_nodes=request.param) as running:
        running.kind = "nodes2" if request.param else "classic"
        running.page.evaluate(LISTEN, EVENTS)
        yield running


@pytest.fixture
def review(editor):
    return Review(editor)


class Review:
    """The tiny workflow with small, short clips, freshly opened, as a user sees it."""

    def __init__(self, editor: Editor):
        self.editor, self.page = editor, editor.page
        editor.open(small(load_workflow("tiny-two-stage"), next(SEEDS)))
        editor.fit()

    def press(self, name: str) -> list[Event]:
        """Presses a button of the panel by the mouse and waits for the run: its messages."""
        self.page.evaluate("() => heard.splice(0)")
        self.page.get_by_role("button", name=name, exact=True).click()
        return self.wait()

    def wait(self) -> list[Event]:
        self.page.wait_for_function(
            "() => heard.some(([name, node]) => name === 'executing' && node === null)", timeout=300_000
        )
        heard = self.page.evaluate("() => heard.splice(0)")
        assert "execution_success" in [name for name, _ in heard], heard
        return heard

    def executed(self, heard: list[Event]) -> set[str]:
        """The types of the nodes that ran."""
        types = self.page.evaluate("() => Object.fromEntries(app.graph.nodes.map((n) => [n.id, n.type]))")
        return {types[str(node)] for name, node in heard if name == "executing" and node is not None}

    def value(self, type: str, widget: str) -> str | float:
        script = """([type, name]) =>
          app.graph.nodes.find((n) => n.type === type).widgets.find((w) => w.name === name).value"""
        return self.page.evaluate(script, [type, widget])

    def sources(self) -> list[str]:
        return self.page.locator(".flashvideo-review video").evaluate_all("(all) => all.map((v) => v.src)")


def small(graph: Workflow, seed: int) -> Workflow:
    """The UI form with a shorter way: 2 steps, 5 frames, drafts of 48x32 refined to 96x64.

    cfg 1: strong guidance over so few steps drives several seeds into the same plain white, hence the same file.
    """
    size = {"preset": "custom", "width": 48, "height": 32, "frames": 5}
    short = {
        "FlashVideoStage1": {"seed": seed, "steps": 2, "cfg": 1.0, **size},
        "FlashVideoHandoff": {"target": "custom", "width": 96, "height": 64},
        "FlashVideoReview": {"decision": "review"},
    }
    for node in graph["nodes"]:
        named = node.get("widgets_values_named")
        for name, value in short.get(node["type"], {}).items():
            node["widgets_values"][list(named).index(name)] = value
            named[name] = value
    return graph


def saved_clips(server) -> set[Path]:
    """What Save Video has written."""
    return {path for path in (server.base / "output").rglob("*.mp4") if path.parent.name != "drafts"}


def test_from_drafts_to_the_finished_clip(review, server):
    page = review.page
    assert review.executed(review.press("Make drafts")).isdisjoint({"FlashVideoHandoff", "SaveVideo"})
    page.wait_for_function(
        "() => [...document.querySelectorAll('.flashvideo-review video')].filter((v) => v.currentTime > 0).length === 2"
    )
    review.editor.screenshot(f"review-{review.editor.kind}.png")

    page.locator(".flashvideo-review label").nth(1).click()
    assert review.value("FlashVideoReview", "choice") == 1
    shown, before = review.sources(), saved_clips(server)
    ran = review.executed(review.press("Refine this draft"))
    behind = {"FlashVideoReview", "FlashVideoHandoff", "FlashVideoStage2", "FlashVideoDecode", "SaveVideo"}
    assert ran - {"FlashVideoModelLoader"} == behind  # stage 2's loader, the first time
    (made,) = saved_clips(server) - before
    assert read_video(made).frames.shape == (5, 64, 96, 3)
    assert review.sources() == shown  # the same files: the drafts play on
    assert review.value("FlashVideoReview", "decision") == "review"
    page.locator("video[src*=output]").first.wait_for()
    review.editor.screenshot(f"review-finished-{review.editor.kind}.png")
    assert review.editor.errors() == []


def test_new_drafts_take_seeds_not_yet_seen(review):
    review.press("Make drafts")
    seed, first = review.value("FlashVideoStage1", "seed"), review.sources()
    review.press("New drafts (next seed)")
    assert review.value("FlashVideoStage1", "seed") == seed + 2
    assert len(set(first + review.sources())) == 4


def test_run_is_held_back_at_the_review(review, server):
    review.page.evaluate("() => heard.splice(0)")
    before = saved_clips(server)
    review.page.evaluate("() => app.queuePrompt(0, 1)")
    review.wait()
    assert len(review.sources()) == 2
    assert saved_clips(server) == before


def test_by_keyboard(review):
    review.press("Make drafts")
    page = review.page
    page.locator(".flashvideo-review input").first.focus()
    page.keyboard.press("ArrowRight")
    assert review.value("FlashVideoReview", "choice") == 1
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.textContent") == "Refine this draft"
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.textContent") == "New drafts (next seed)"
    page.keyboard.press("Shift+Tab")
    page.evaluate("() => heard.splice(0)")
    page.keyboard.press("Space")
    assert "SaveVideo" in review.executed(review.wait())


def test_drafts_outlive_a_reload_of_the_workflow(review):
    review.press("Make drafts")
    shown = review.sources()
    saved = review.editor.to_workflow()
    review.editor.open(saved)
    assert review.sources() == shown
    assert "drafts" not in json.dumps(on_tiny(review.editor.to_prompt())["9"]["inputs"])
