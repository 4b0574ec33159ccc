"""Builds workflows/*.json, workflows/api/*.json and their pictures in the real editor, from workflow_lists.py.

    PYTHONPATH=.:tests python tests/support/make_workflows.py [NAME ...]

Needs ComfyUI and Chromium, as the browser tests do. The graphs are made by the editor's own functions and written
by its own serialisation. A picture shows the editor after loading; tiny-two-stage is run first.
"""

import json
import sys
import urllib.request
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from support.comfy_server import ComfyServer
from support.comfyui import NodeInfo
from support.editor import Editor
from support.editor_server import RECORDING
from support.workflow_files import WORKFLOWS, load_workflow
from support.workflow_lists import WORKFLOW_LISTS

from flashvideo_core.media.video_writer import write_video

BUILD = """(list) => {
  app.graph.clear();
  const made = {};
  for (const [name, spec] of Object.entries(list)) {
    const node = (made[name] = LiteGraph.createNode(spec.type));
    if (!node) throw new Error(`no node ${spec.type}`);
    node.pos = spec.pos;
    app.graph.add(node);
    for (const [input, value] of Object.entries(spec.inputs)) {
      const widget = input ? node.widgets.find((w) => w.name === input) : node.widgets[0];
      if (!widget) throw new Error(`${spec.type} has no ${input}`);
      widget.value = value;
      widget.callback?.(value);
    }
    for (const w of node.widgets ?? []) if (w.name === 'control_after_generate') w.value = 'fixed';
    if (spec.title) node.title = spec.title;
    if (spec.models.length) node.properties.models = spec.models;
  }
  for (const [name, spec] of Object.entries(list)) {
    for (const [input, [source, output]] of Object.entries(spec.links)) {
      const from = made[source].outputs.findIndex((o) => o.name.toLowerCase() === output.toLowerCase());
      const to = made[name].findInputSlot(input);
      if (from < 0 || to < 0) throw new Error(`${name}.${input} from ${source}.${output}`);
      made[source].connect(from, made[name], to);
    }
    if (spec.size) made[name].setSize(spec.size);
  }
}"""

GRAPH_AREA = """() => {
  const { scale, offset } = app.canvas.ds, box = app.canvas.canvas.getBoundingClientRect();
  const boxes = app.graph.nodes.map((n) => n.boundingRect), margin = 30;
  const [x0, y0] = [0, 1].map((k) => Math.min(...boxes.map((b) => b[k])));
  const [x1, y1] = [0, 1].map((k) => Math.max(...boxes.map((b) => b[k] + b[k + 2])));
  return {
    x: box.x + (x0 + offset[0]) * scale - margin, y: box.y + (y0 + offset[1]) * scale - margin,
    width: (x1 - x0) * scale + 2 * margin, height: (y1 - y0) * scale + 2 * margin,
  };
}"""


def build(editor: Editor, name: str) -> None:
    editor.page.evaluate(BUILD, {key: asdict(spec) for key, spec in WORKFLOW_LISTS[name].items()})
    editor.page.wait_for_timeout(500)
    editor.open(editor.to_workflow())  # one round trip, so that loading the file changes nothing any more
    editor.fit()
    workflow = editor.to_workflow()
    workflow["id"] = str(uuid.uuid5(uuid.NAMESPACE_URL, f"ComfyUI-FlashVideo/{name}"))
    write_json(WORKFLOWS / f"{name}.json", workflow)
    write_json(WORKFLOWS / "api" / f"{name}.json", editor.to_prompt())


def take_picture(editor: Editor, name: str) -> None:
    if name == "tiny-two-stage":
        editor.page.evaluate("() => app.queuePrompt(0, 1)")
        editor.page.wait_for_selector(".flashvideo-review video", timeout=600_000)
        editor.page.wait_for_selector("video[src*=output]", timeout=600_000)
        editor.page.wait_for_timeout(3000)
    editor.fit()
    clip = editor.page.evaluate(GRAPH_AREA)
    editor.page.screenshot(path=WORKFLOWS / f"{name}.jpg", type="jpeg", quality=80, clip=clip)


def record_object_info(url: str) -> None:
    """Keeps /object_info of our nodes and of the core nodes that the workflows use, for tests without ComfyUI."""
    with urllib.request.urlopen(f"{url}/object_info", timeout=60) as response:
        write_json(RECORDING, select_nodes(json.load(response)))


def select_nodes(object_info: dict[str, NodeInfo]) -> dict[str, NodeInfo]:
    """Of /object_info what is kept: our nodes and those that the workflows use."""
    used = {spec.type for nodes in WORKFLOW_LISTS.values() for spec in nodes.values()}
    return {name: info for name, info in sorted(object_info.items()) if name in used or name.startswith("FlashVideo")}


def create_empty_files(base: Path) -> None:
    """Empty files by the names that the workflows expect, so that the pictures show no complaint."""
    for nodes in WORKFLOW_LISTS.values():
        for spec in nodes.values():
            for file in spec.models:
                path = base / "models" / file.directory / file.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
    (base / "input" / "FlashVideo-draft_00001_.latent").touch()
    write_video(base / "input" / "clip.mp4", torch.rand(9, 64, 96, 3), 8)


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")


def make(server: ComfyServer, names: list[str]) -> None:
    names = names or list(WORKFLOW_LISTS)
    record_object_info(server.url)
    for name in names:
        with Editor(server.url) as editor:  # a fresh page each: it remembers widgets by node id
            build(editor, name)
    create_empty_files(server.base)  # only now: a found video would get into the API form as a preview
    for name in names:
        with Editor(server.url, size=(1900, 1000)) as editor:
            editor.open(load_workflow(name))
            take_picture(editor, name)


if __name__ == "__main__":
    with ComfyServer() as server:
        make(server, sys.argv[1:])
