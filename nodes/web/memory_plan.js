// The memory plan under our nodes before a run, which the server makes of the prompt: weights, work, what is tiled.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { findNode } from "./graph.js";

const NODES = ["FlashVideoStage1", "FlashVideoHandoff", "FlashVideoStage2", "FlashVideoDecode"];
const NAME = "memory plan";
const WAIT = 600; // milliseconds after the last change
const HEIGHT = 30; // two lines of small text

let timer;

app.registerExtension({
  name: "FlashVideo.MemoryPlan",
  setup() {
    api.addEventListener("graphChanged", planSoon);
  },
  nodeCreated(node) {
    if (NODES.includes(node.comfyClass)) addLine(node);
  },
  afterConfigureGraph: planSoon,
});

function planSoon() {
  clearTimeout(timer);
  const mine = setTimeout(() => showPlan(() => timer === mine).catch((error) => console.error(error)), WAIT);
  timer = mine;
}

/** isCurrent: whether nothing has changed since; an older answer may come after a newer one. */
async function showPlan(isCurrent) {
  const { output } = await app.graphToPrompt();
  if (!Object.values(output).some(({ class_type }) => NODES.includes(class_type))) return;
  const headers = { "Content-Type": "application/json" };
  const answer = await api.fetchApi("/flashvideo/plan", { method: "POST", headers, body: JSON.stringify(output) });
  if (!answer.ok) throw new Error(`The memory plan was refused: ${await answer.text()}`);
  const lines = await answer.json();
  if (!isCurrent()) return;
  for (const id of Object.keys(output)) {
    const line = findNode(id)?.widgets?.find(({ name }) => name === NAME);
    if (line) line.element.textContent = lines[id] ?? "";
  }
}

/** A line of text that is no value of the node: it is neither saved nor queued. */
function addLine(node) {
  const element = document.createElement("div");
  Object.assign(element.style, { fontSize: "10px", lineHeight: "1.3", opacity: 0.65, textAlign: "center", overflow: "hidden" });
  const options = { serialize: false, hideOnZoom: false, hideInPanel: true, getMinHeight: () => HEIGHT, getMaxHeight: () => HEIGHT };
  node.addDOMWidget(NAME, "flashvideo_memory_plan", element, options).serialize = false;
}
