// The graph in the editor: nodes by their ids in a prompt, and widgets by what they put into it.

import { app } from "../../scripts/app.js";
import { findLiteral, nameNode } from "./prompt.js";

/** The node with an id of a prompt; inside a subgraph the ids of the subgraphs stand before it, as in 5:12. */
export function findNode(promptId) {
  const ids = String(promptId).split(":");
  const last = ids.pop();
  const graph = ids.reduce((outer, id) => outer?.getNodeById(id)?.subgraph, app.rootGraph);
  return graph?.getNodeById(last) ?? undefined;
}

/** A node's id in the prompt. Throws an Error in words if it has none. */
export function findPromptId(prompt, node) {
  const id = Object.keys(prompt).find((candidate) => findNode(candidate) === node);
  if (!id) throw new Error("This node, or the subgraph around it, is muted or bypassed: activate it first.");
  return id;
}

export function isOutputNode({ class_type }) {
  return LiteGraph.registered_node_types[class_type]?.nodeData?.output_node === true;
}

export function getWidget(node, name) {
  return node.widgets?.find((widget) => widget.name === name);
}

export function setWidget(node, widget, value) {
  widget.value = value;
  node.setDirtyCanvas(true); // the classic canvas does not watch values
}

export function isLinked(node, input) {
  return node.inputs.find(({ name }) => name === input)?.link != null;
}

/**
 * Sets an input of the prompt to change(value) in the widget that it comes from. Throws an Error in words if there is
 * no such widget.
 */
export async function setPromptValue(id, input, change) {
  const { output: prompt } = await app.graphToPrompt();
  const at = findLiteral(prompt, id, input);
  for (const [node, widget] of at ? listWidgets(...at) : []) {
    const before = widget.value;
    if (before !== prompt[at[0]].inputs[at[1]]) continue;
    const value = change(before);
    if (value === before) return;
    setWidget(node, widget, value);
    if ((await app.graphToPrompt()).output[at[0]]?.inputs[at[1]] === value) return;
    setWidget(node, widget, before); // it comes from elsewhere
  }
  const source = prompt[id].inputs[input]?.[0] ?? at?.[0] ?? id;
  throw new Error(`The ${input} comes from ${nameNode(prompt, source)}, where this panel cannot set it: set it there.`);
}

/** Widgets that may give an input its value: the node's own, that of what is wired to it, those of subgraphs around. */
function listWidgets(id, input) {
  const node = findNode(id);
  const wired = node?.getInputNode(node.findInputSlot(input));
  const ids = id.split(":");
  const around = ids.slice(1).map((_, depth) => findNode(ids.slice(0, depth + 1).join(":")));
  const wiredAround = around.flatMap((outer) => outer.inputs.map((_, slot) => outer.getInputNode(slot)));
  const others = [wired, ...around, ...wiredAround].filter(Boolean);
  const own = getWidget(node, input);
  return [...(own ? [[node, own]] : []), ...others.flatMap((other) => (other.widgets ?? []).map((w) => [other, w]))];
}
