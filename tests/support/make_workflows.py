"""Builds workflows/*.json and workflows/api/*.json in the real editor, from workflow_lists.py.

    PYTHONPATH=.:tests python tests/support/make_workflows.py [NAME ...]

Needs ComfyUI and Chromium, as the browser tests do. The graphs are made by the editor's own functions and written
by its own serialisation. The pictures beside them are made by make_thumbnails.py.
"""

import json
import sys
import urllib.request
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import Any

from support.comfy_server import ComfyServer
from support.comfyui import NodeInfo
from support.editor import Editor
from support.editor_server import RECORDING
from support.workflow_files import WORKFLOWS
from support.workflow_lists import (
    BLUEPRINT,
    BLUEPRINT_DESCRIPTION,
    BLUEPRINT_LABELS,
    BLUEPRINT_NODES,
    BLUEPRINT_WIDGETS,
    WORKFLOW_LISTS,
)
from support.workflow_parts import PROMPT, number_steps

BLUEPRINTS = WORKFLOWS.parent / "subgraphs"

SUBGRAPH = """([title, promoted]) => {
  const outer = app.graph.nodes.find((node) => node.type === 'SaveVideo');
  const inner = app.graph.nodes.filter((node) => node !== outer);
  const { node } = app.graph.convertToSubgraph(new Set(inner));
  app.graph.remove(outer);
  for (const group of [...app.graph._groups]) app.graph.remove(group);
  node.title = node.subgraph.name = title;
  node.properties.proxyWidgets = promoted.map(([index, widget]) => [String(inner[index].id), widget]);
}"""

DRESS = """([labels, prompt]) => {
  const [node] = app.graph.nodes;
  for (const input of node.subgraph.inputs) if (labels[input.name]) input.label = labels[input.name];
  for (const widget of node.widgets) {
    if (labels[widget.name]) widget.label = labels[widget.name];
    if (widget.name === 'prompt') widget.value = prompt;
  }
}"""

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
      const link = made[source].connect(from, made[name], to);
      for (const point of spec.via[input] ?? []) app.graph.createReroute(point, link);
    }
    if (spec.size) made[name].setSize(spec.size);
  }
  const groups = new Map(), TITLES = 70; // of the frame and of its nodes, in pixels above them
  const GROWTH = 40; // of nodes in Nodes 2.0 and of their error bars, below them
  for (const [name, { group }] of Object.entries(list)) {
    if (group) groups.set(group, [...(groups.get(group) ?? []), made[name]]);
  }
  for (const [title, nodes] of groups) {
    const group = new LiteGraph.LGraphGroup(title);
    app.graph.add(group);
    const [x0, y0] = [0, 1].map((k) => Math.min(...nodes.map((node) => node.pos[k])) - 20);
    const [x1, y1] = [0, 1].map((k) => Math.max(...nodes.map((node) => node.pos[k] + node.size[k])) + 20);
    [group.pos, group.size] = [[x0, y0 - TITLES], [x1 - x0, y1 - y0 + TITLES + GROWTH]];
  }
}"""


def build(editor: Editor, name: str) -> None:
    editor.page.evaluate(BUILD, {key: asdict(spec) for key, spec in number_steps(WORKFLOW_LISTS[name]).items()})
    editor.page.wait_for_timeout(500)
    editor.open(editor.to_workflow())  # one round trip, so that loading the file changes nothing any more
    editor.fit()
    workflow = editor.to_workflow()
    workflow["id"] = str(uuid.uuid5(uuid.NAMESPACE_URL, f"ComfyUI-FlashVideo/{name}"))
    write_json(WORKFLOWS / f"{name}.json", workflow)
    write_json(WORKFLOWS / "api" / f"{name}.json", editor.to_prompt())


def build_blueprint(editor: Editor) -> None:
    """The subgraph that ComfyUI offers beside the nodes."""
    names = [name for name in BLUEPRINT_NODES if name != "save"]
    editor.page.evaluate(BUILD, {key: asdict(spec) for key, spec in BLUEPRINT_NODES.items()})
    promoted = [(names.index(name), widget) for name, widget in BLUEPRINT_WIDGETS]
    editor.page.evaluate(SUBGRAPH, [BLUEPRINT, promoted])
    workflow = editor.to_workflow()
    for name in ("widgets_values", "widgets_values_named"):  # of the seeds, which the editor has shown by itself
        del workflow["nodes"][0][name]
    editor.open(workflow)  # here the editor shows the widgets that are asked for
    editor.page.evaluate(DRESS, [BLUEPRINT_LABELS, PROMPT])
    editor.page.wait_for_timeout(500)
    workflow = editor.to_workflow()
    workflow["id"] = str(uuid.uuid5(uuid.NAMESPACE_URL, f"ComfyUI-FlashVideo/{BLUEPRINT}"))
    (definition,) = workflow["definitions"]["subgraphs"]
    definition |= {"description": BLUEPRINT_DESCRIPTION, "category": "FlashVideo"}
    write_json(BLUEPRINTS / f"{BLUEPRINT}.json", workflow)


def record_object_info(url: str) -> None:
    """Keeps /object_info of our nodes and of the core nodes that the workflows use, for tests without ComfyUI."""
    with urllib.request.urlopen(f"{url}/object_info", timeout=60) as response:
        write_json(RECORDING, select_nodes(json.load(response)))


def select_nodes(object_info: dict[str, NodeInfo]) -> dict[str, NodeInfo]:
    """Of /object_info what is kept: our nodes and those that the workflows use."""
    used = {spec.type for nodes in WORKFLOW_LISTS.values() for spec in nodes.values()}
    return {name: info for name, info in sorted(object_info.items()) if name in used or name.startswith("FlashVideo")}


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")


def make(server: ComfyServer, names: list[str]) -> None:
    record_object_info(server.url)
    for name in names or WORKFLOW_LISTS:
        with Editor(server.url) as editor:  # a fresh page each: it remembers widgets by node id
            build(editor, name)
    with Editor(server.url) as editor:
        build_blueprint(editor)


if __name__ == "__main__":
    with ComfyServer() as server:
        make(server, sys.argv[1:])
