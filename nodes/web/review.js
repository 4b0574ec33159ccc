// FlashVideo Review in the editor: plays the drafts in the node, and buttons that set the node's two plain widgets
// (decision, choice) and queue only what is needed. Without this file the node works all the same, by its widgets.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const NODE = "FlashVideoReview";
const STYLE = `
.flashvideo-review { display: flex; flex-direction: column; gap: 6px; box-sizing: border-box; height: 100%;
  padding: 4px; font: 12px sans-serif; color: var(--input-text, #ddd); }
.flashvideo-review fieldset { flex: 1; min-height: 0; margin: 0; padding: 0; border: 0; overflow: auto; display: grid;
  gap: 6px; grid-template-columns: repeat(auto-fit, minmax(96px, 1fr)); }
.flashvideo-review label { display: flex; flex-direction: column; min-height: 0; padding: 3px; cursor: pointer;
  border: 2px solid var(--border-color, #555); border-radius: 6px; }
.flashvideo-review label:has(:checked) { border-color: var(--p-primary-color, #4a9eff); }
.flashvideo-review video { flex: 1; min-height: 0; width: 100%; object-fit: contain; }
.flashvideo-review p { margin: 0; min-height: 1.2em; }
.flashvideo-review button { padding: 6px 10px; border: 1px solid var(--border-color, #555); border-radius: 6px;
  background: var(--comfy-input-bg, #333); color: inherit; cursor: pointer; }
.flashvideo-review button:disabled { opacity: 0.5; cursor: default; }
.flashvideo-review :focus-visible { outline: 2px solid var(--p-primary-color, #4a9eff); outline-offset: 1px; }
`;

app.registerExtension({
  name: "FlashVideo.Review",
  setup() {
    document.head.append(element("style", { textContent: STYLE }));
  },
  nodeCreated(node) {
    if (node.comfyClass === NODE) addPanel(node);
  },
});

/** Adds the panel to a review node: the drafts to choose from, a status line and two buttons. */
function addPanel(node) {
  const draftList = element("fieldset", { ariaLabel: "Drafts" });
  const status = element("p", { role: "status" });
  const refineButton = element("button", { type: "button", textContent: "Refine this draft" });
  const draftsButton = element("button", { type: "button" });
  const panel = element("div", { className: "flashvideo-review" }, draftList, status, refineButton, draftsButton);
  const choice = getWidget(node, "choice");

  function showDrafts(files) {
    node.properties.drafts = files; // kept in the workflow, so that a reloaded page still shows them
    draftList.replaceChildren(...files.map((file, i) => createDraftCard(node, file, i, chooseDraft)));
    refineButton.disabled = files.length === 0;
    draftsButton.textContent = files.length ? "New drafts (next seed)" : "Make drafts";
    setStatus(files.length ? "Choose a draft, then refine it." : "No drafts yet.");
    if (files.length) chooseDraft(Math.min(choice.value, files.length - 1));
  }
  function chooseDraft(i) {
    if (choice.value !== i) setWidget(node, "choice", i);
    draftList.querySelectorAll("input").forEach((radio, k) => (radio.checked = k === i));
  }
  const setStatus = (text) => (status.textContent = text);

  panel.addEventListener("keydown", (event) => {
    if (!event.ctrlKey && !event.metaKey) event.stopPropagation(); // plain keys belong to the panel, not to the canvas
  });
  refineButton.addEventListener("click", () => queueRefine(node).catch((error) => setStatus(error.message)));
  draftsButton.addEventListener("click", () => queueDrafts(node).catch((error) => setStatus(error.message)));
  callAfter(choice, "callback", () => chooseDraft(choice.value));
  callAfter(node, "onExecuted", (output) => output?.drafts && showDrafts(output.drafts));
  callAfter(node, "onConfigure", () => showDrafts(node.properties.drafts ?? []));

  const options = { serialize: false, hideOnZoom: false, getMinHeight: () => 220 };
  node.addDOMWidget("drafts", "flashvideo_review", panel, options).serialize = false;
  node.setSize([Math.max(node.size[0], 360), Math.max(node.size[1], 420)]);
  showDrafts([]);
}

/** One draft: its video, and the radio button that calls choose(i). */
function createDraftCard(node, file, i, choose) {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const src = api.apiURL(`/view?${new URLSearchParams(file)}`);
  const video = element("video", { src, autoplay: !still, controls: still, loop: true, muted: true, playsInline: true });
  const radio = element("input", { type: "radio", name: `flashvideo-draft-${node.id}` });
  radio.addEventListener("change", () => choose(i));
  video.addEventListener("error", () => video.replaceWith("No longer on the server: make drafts again."));
  return element("label", {}, video, element("span", {}, radio, ` Draft ${i}`));
}

/** Queues the outputs downstream of the node, once: drafts that come later have to be approved themselves. */
async function queueRefine(node) {
  const { output: prompt } = await app.graphToPrompt();
  const outputs = findDownstream(prompt, findExecutionId(prompt, node)).filter((id) => isOutputNode(prompt[id]));
  if (!outputs.length) throw new Error("Nothing behind this node saves or shows a result.");
  const before = getWidget(node, "decision").value;
  setWidget(node, "decision", "approve");
  try {
    await app.queuePrompt(0, 1, outputs);
  } finally {
    setWidget(node, "decision", before);
  }
}

/** Queues this node and what is upstream of it. Drafts that are already shown are followed by those of unused seeds. */
async function queueDrafts(node) {
  const shown = node.properties.drafts.length;
  const seed = findSeedWidget(node);
  if (shown && !seed) throw new Error("No seed before this node that could be advanced: change it by hand.");
  if (shown) seed.value += shown;
  setWidget(node, "decision", "review");
  const { output: prompt } = await app.graphToPrompt();
  await app.queuePrompt(0, 1, [findExecutionId(prompt, node)]);
}

/** The node's id in the prompt; inside a subgraph the ids of the subgraphs stand before it, as in 5:12. */
function findExecutionId(prompt, node) {
  const isThisNode = (id) => id.split(":").pop() === String(node.id) && prompt[id].class_type === NODE;
  const id = Object.keys(prompt).find(isThisNode);
  if (!id) throw new Error("This node is muted, bypassed or not connected.");
  return id;
}

/** The ids of the nodes that depend on a node. */
function findDownstream(prompt, start) {
  const found = new Set([start]);
  for (const id of found) { // a Set is walked in order, and also over what is added on the way
    for (const [other, { inputs }] of Object.entries(prompt)) {
      if (Object.values(inputs).some((value) => Array.isArray(value) && value[0] === id)) found.add(other);
    }
  }
  found.delete(start);
  return [...found];
}

function isOutputNode({ class_type }) {
  return LiteGraph.registered_node_types[class_type]?.nodeData?.output_node === true;
}

/** The nearest seed widget upstream of the node. */
function findSeedWidget(node) {
  const upstream = [node];
  for (const current of upstream) {
    const seed = current.widgets?.find(({ name }) => name === "seed" || name === "noise_seed");
    if (seed) return seed;
    const sources = (current.inputs ?? []).map((_, slot) => current.getInputNode(slot));
    upstream.push(...sources.filter((source) => source && !upstream.includes(source)));
  }
}

function getWidget(node, name) {
  return node.widgets.find((widget) => widget.name === name);
}

function setWidget(node, name, value) {
  getWidget(node, name).value = value;
  node.setDirtyCanvas(true); // the classic canvas does not watch values
}

/** Calls a function with the same arguments after each call of a method. */
function callAfter(object, method, then) {
  const original = object[method];
  object[method] = function (...args) {
    const result = original?.apply(this, args);
    then(...args);
    return result;
  };
}

/** A DOM element with properties and children. */
function element(tag, properties, ...children) {
  const created = Object.assign(document.createElement(tag), properties);
  created.append(...children);
  return created;
}
