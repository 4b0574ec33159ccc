"""The review node in the real editor, as a user works with it: buttons and cards by the mouse, and what came of it."""

import itertools
import json
from pathlib import Path
from typing import Any

from support.comfyui import Prompt, Workflow
from support.editor import Editor
from support.workflow_files import load_workflow

from flashvideo_core.media.video_reader import read_video

Event = tuple[str, Any]
"""Name and detail of a message of the server, as the editor's API hears it."""

SEEDS = itertools.count(100, 10)  # new drafts for each test, or the server's cache would have them already
EVENTS = ("execution_cached", "executing", "execution_success", "execution_error", "execution_interrupted", "progress")
LISTEN = """(names) => {
  if (window.heard) return;
  window.heard = [];
  for (const name of names) app.api.addEventListener(name, ({ detail }) => heard.push([name, detail]));
}"""
RENDERINGS = ["classic", "nodes2"]
FIND = "(type) => app.rootGraph.nodes.find((n) => n.type === type)"
SETTLED = """() => [...document.querySelectorAll('.flashvideo-review [role=status]')].every(
  (status) => !/^(Queued|Running)/.test(status.textContent))"""
ENDED = "() => heard.some(([name, node]) => name === 'executing' && node === null)"

SEED_NODE = """() => {
  const seeds = LiteGraph.createNode('PrimitiveInt');
  app.rootGraph.add(seeds);
  seeds.pos = [0, 900];
  const stage1 = app.rootGraph.nodes.find((n) => n.type === 'FlashVideoStage1');
  seeds.widgets[0].value = stage1.widgets.find((w) => w.name === 'seed').value;
  seeds.connect(0, stage1, stage1.findInputSlot('seed'));
}"""


class Review:
    """The tiny workflow with small, short clips, freshly opened; `base` is the server's folder."""

    def __init__(self, editor: Editor, base: Path, workflow: Workflow | None = None):
        self.editor, self.page, self.base = editor, editor.page, base
        self.page.evaluate(LISTEN, EVENTS)
        self.open(workflow or small(load_workflow("tiny-two-stage"), next(SEEDS)))

    def open(self, workflow: Workflow) -> None:
        self.editor.open(workflow)
        self.editor.fit()
        self.clips = self.saved_clips()

    def look_at(self, type: str) -> None:
        """One node at full size."""
        script = f"""(type) => {{
          const {{ ds }} = app.canvas, [x, y] = ({FIND})(type).pos;
          ds.scale = 1;
          ds.offset = [300 - x, 150 - y];
          app.canvas.setDirty(true, true);
        }}"""
        self.page.evaluate(script, type)
        self.page.wait_for_timeout(500)

    def click(self, name: str) -> None:
        """A button of the panel, or of the editor's bar."""
        self.page.evaluate("() => heard.splice(0)")
        self.page.get_by_role("button", name=name, exact=True).first.click()

    def press(self, name: str, ends: str = "execution_success") -> list[Event]:
        """Clicks a button and waits for the run: its messages."""
        self.click(name)
        return self.wait(ends)

    def wait(self, ends: str = "execution_success") -> list[Event]:
        self.page.wait_for_function(ENDED, timeout=300_000)
        heard = self.page.evaluate("() => heard.splice(0)")
        assert ends in [name for name, _ in heard], heard
        self.page.wait_for_function(SETTLED)
        return heard

    def choose(self, draft: int) -> None:
        self.page.locator(".flashvideo-review label").nth(draft).click()

    def status(self) -> str:
        return self.page.locator(".flashvideo-review [role=status]").inner_text()

    def wait_for_status(self, text: str) -> None:
        self.page.locator(".flashvideo-review [role=status]").filter(has_text=text).wait_for()

    def executed(self, heard: list[Event]) -> set[str]:
        """The types of the nodes that ran."""
        types = self.page.evaluate("() => Object.fromEntries(app.rootGraph.nodes.map((n) => [n.id, n.type]))")
        return {types[str(node)] for name, node in heard if name == "executing" and node is not None}

    def value(self, type: str, widget: str) -> str | float:
        return self.page.evaluate(
            f"([type, name]) => ({FIND})(type).widgets.find((w) => w.name === name).value", [type, widget]
        )

    def edit(self, type: str, widget: str, value: str | float) -> None:
        """As an edit of the widget does it."""
        script = f"([type, name, value]) => {{ ({FIND})(type).widgets.find((w) => w.name === name).value = value; }}"
        self.page.evaluate(script, [type, widget, value])

    def sets(self) -> list[dict[str, Any]]:
        """The sets of drafts that the node keeps."""
        return self.page.evaluate(f"() => ({FIND})('FlashVideoReview').properties.draftSets")

    def latent(self, set_index: int, draft: int) -> str:
        """What Load Latent calls a kept draft."""
        file = self.sets()[set_index]["latents"][draft]
        return f"{file['subfolder']}/{file['filename']} [{file['type']}]"

    def sources(self) -> list[str]:
        return self.page.locator(".flashvideo-review video").evaluate_all("(all) => all.map((v) => v.src)")

    def saved_clips(self) -> set[Path]:
        """What Save Video has written."""
        return {path for path in (self.base / "output").rglob("*.mp4") if path.parent.name != "drafts"}

    def refine(self) -> Prompt:
        """Presses Refine: the prompt of the clip that it makes. Nothing before the review may run."""
        ran = self.executed(self.press("Refine this draft"))
        assert ran.isdisjoint({"FlashVideoStage1"}), ran
        (made,) = self.saved_clips() - self.clips
        self.clips = self.saved_clips()
        return json.loads(read_video(made).metadata["prompt"])


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
