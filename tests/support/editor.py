"""ComfyUI's real editor in headless Chromium, driven by playwright.

    with Editor(server_url) as editor:
        editor.open(workflow)            # UI JSON, as a user would drop it on the canvas
        editor.to_prompt()               # what the Run button would queue
        editor.page                      # playwright's page, for clicking

`$CHROMIUM` (default: chromium on the PATH, Debian's package) names the browser.
"""

import json
import os
import shutil
import urllib.request
import warnings
from pathlib import Path

import pytest
from support.comfyui import PACK, Prompt, Workflow

try:
    from playwright.sync_api import sync_playwright
except ImportError:
    sync_playwright = None

ARTEFACTS = PACK / "test-artefacts"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
AVAILABLE = sync_playwright is not None and CHROMIUM is not None
REASON = "NO BROWSER: the Python package playwright or the program chromium is missing"

if not AVAILABLE:
    warnings.warn(f"{REASON}. Every test marked browser is skipped.", stacklevel=1)

requires_browser = pytest.mark.skipif(not AVAILABLE, reason=REASON)

READY = """() => window.app?.extensionManager && app.canvas?.graph
  && Object.keys(LiteGraph.registered_node_types).length > 20"""
NORMAL = (
    "user.css",  # this and the next are asked for by every ComfyUI page, whether they exist or not
    "userdata",
    "graph accessed before initialization",  # the editor's own, also without this pack
    "filename=sample.mp4",  # of our Load Video, whose preview needs a server
    "https://",  # the outside world, which the editor asks for news and for the sizes of missing weights
)


class Editor:
    """One page with the editor in it. `complaints` collects console errors, page errors and failed requests."""

    def __init__(self, url: str, size: tuple[int, int] = (1500, 900), vue_nodes: bool = False, language: str = "en"):
        self.url, self.size = url, size
        self.settings = {
            "Comfy.TutorialCompleted": True,  # or a template dialog lies over the first visit
            "Comfy.VueNodes.Enabled": vue_nodes,
            "Comfy.Locale": language,
            "Comfy.Minimap.Visible": False,
            "Comfy.RightSidePanel.IsOpen": False,  # as an earlier page on this server may have left it
            "Comfy.Graph.CanvasInfo": False,
        }
        self.complaints: list[str] = []

    def __enter__(self) -> "Editor":
        body = json.dumps(self.settings).encode()
        request = urllib.request.Request(f"{self.url}/api/settings", body, {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=30).close()
        self.playwright = sync_playwright().start()
        self.browser = self.playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        self.page = self.browser.new_page(viewport=dict(zip(("width", "height"), self.size, strict=True)))
        self.page.set_default_timeout(60_000)
        self._listen()
        self.page.goto(self.url)
        self.page.wait_for_function(READY)
        return self

    def __exit__(self, *_) -> None:
        self.browser.close()
        self.playwright.stop()

    def _listen(self) -> None:
        self.page.on("pageerror", lambda error: self.complaints.append(f"page error: {error}"))
        self.page.on("console", self._hear)

    def _hear(self, message) -> None:
        url = (message.location or {}).get("url", "")
        if message.type == "error":
            self.complaints.append(f"console: {message.text} ({url})")

    def errors(self) -> list[str]:
        """The complaints so far, without those that come with every page."""
        return [text for text in self.complaints if not any(word in text for word in NORMAL)]

    def open(self, workflow: Workflow) -> None:
        self.page.evaluate("workflow => app.loadGraphData(workflow)", workflow)
        self.page.wait_for_function("count => app.graph.nodes.length >= count", arg=len(workflow["nodes"]))

    def to_prompt(self) -> Prompt:
        """Without the preview of a video, which the editor takes for an input where the file is found."""
        prompt = self.page.evaluate("async () => (await app.graphToPrompt()).output")
        for node in prompt.values():
            node["inputs"].pop("video-preview", None)
        return prompt

    def to_workflow(self) -> Workflow:
        """As a file would hold it: what is undefined is left out, where evaluate() would make it null."""
        return json.loads(self.page.evaluate("async () => JSON.stringify((await app.graphToPrompt()).workflow)"))

    def missing_nodes(self) -> list[str]:
        """Types in the graph that no node is registered for."""
        return self.page.evaluate(
            "() => app.graph.nodes.map(n => n.type).filter(type => !LiteGraph.registered_node_types[type])"
        )

    def fit(self) -> None:
        """The whole graph in view."""
        self.page.evaluate(
            "() => { app.canvas.deselectAll(); app.extensionManager.command.execute('Comfy.Canvas.FitView'); }"
        )
        self.page.wait_for_timeout(1200)

    def screenshot(self, name: str, **options) -> Path:
        ARTEFACTS.mkdir(exist_ok=True)
        path = ARTEFACTS / name
        self.page.screenshot(path=path, **options)
        return path
