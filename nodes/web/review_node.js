// One review node: its drafts, its panel, and what the buttons queue. A draft is refined as it was made (joinPrompts),
// whatever the widgets say by then.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { addSet, hasRun, nameLatent, readSets } from "./draft_sets.js";
import { findPromptId, getWidget, isLinked, isOutputNode, setPromptValue, setWidget } from "./graph.js";
import { createPanel } from "./panel.js";
import { describeInputs, findInput, joinPrompts, SEEDS } from "./prompt.js";
import { claimWorkflowId } from "./runs.js";

const MIN_SIZE = [420, 560];
const MIN_HEIGHT = 280; // of the panel

/** Adds a panel to a review node: {setStatus(text), addDrafts(run, id, output), addMissedDrafts(run, id, output)}. */
export function addReview(node) {
  const choice = getWidget(node, "choice");
  const panel = createPanel({
    choose: (i) => attempt(() => choose(i)),
    refine: () => attempt(() => queueRefine(node, readSets(node)[at], chosen, panel.setStatus)),
    makeDrafts: () => attempt(() => queueDrafts(node, panel.setStatus)),
    turn: (by) => showSet(at + by),
  });
  let at = -1; // the set that is shown
  let chosen = 0; // the draft in it

  const attempt = (act) => act().catch((error) => panel.setStatus(error.response ? String(error) : error.message));

  function showSet(index) {
    const sets = readSets(node);
    at = index;
    chosen = Math.max(0, Math.min(choice.value, (sets[at]?.drafts.length ?? 0) - 1));
    panel.show(sets, at, chosen);
    panel.setStatus(sets.length ? "Choose a draft, then refine it." : "No drafts yet.");
  }
  async function choose(i) {
    chosen = i;
    panel.mark(i);
    if (choice.value !== i) setWidget(node, choice, i);
    if (!isLinked(node, "choice")) return;
    const { output: prompt } = await app.graphToPrompt();
    await setPromptValue(findPromptId(prompt, node), "choice", () => i);
  }
  function addDrafts(run, id, output) {
    showSet(addSet(node, run, id, output));
  }
  function addMissedDrafts(run, id, output) {
    if (!hasRun(node, run.id)) addDrafts(run, id, output);
  }

  callAfter(choice, "callback", () => {
    chosen = choice.value;
    panel.mark(chosen);
  });
  callAfter(node, "onConfigure", () => showSet(readSets(node).length - 1));
  // a second home in the properties panel would take the element away from the node
  const options = { serialize: false, hideOnZoom: false, hideInPanel: true, getMinHeight: () => MIN_HEIGHT };
  node.addDOMWidget("drafts", "flashvideo_review", panel.element, options).serialize = false;
  node.setSize(MIN_SIZE.map((side, axis) => Math.max(node.size[axis], side)));
  showSet(-1);
  return { setStatus: panel.setStatus, addDrafts, addMissedDrafts };
}

/** Queues what is behind the node, on a saved draft of a set. */
async function queueRefine(node, set, i, setStatus) {
  claimWorkflowId();
  const { output: today, workflow } = await app.graphToPrompt();
  const latent = nameLatent(set, i);
  const output = joinPrompts(today, findPromptId(today, node), set.prompt, latent, isOutputNode);
  setStatus(`Queued: draft ${i}.`);
  const previewMethod = app.extensionManager.setting.get("Comfy.Execution.PreviewMethod");
  await api.queuePrompt(0, { output, workflow }, { previewMethod });
}

/** Queues this node and what is upstream of it, with a seed that is not among the drafts yet. */
async function queueDrafts(node, setStatus) {
  const { output: prompt } = await app.graphToPrompt();
  const id = findPromptId(prompt, node);
  await moveSeed(id, readSets(node));
  setWidget(node, getWidget(node, "decision"), "review");
  setStatus("Queued.");
  if (!(await app.queuePrompt(0, 1, [id]))) setStatus("Not queued: the editor says why.");
}

/** Moves the seed on as long as the drafts that it would make are there already. */
async function moveSeed(id, sets) {
  for (;;) {
    const { output: prompt } = await app.graphToPrompt();
    const inputs = describeInputs(prompt, id);
    const same = sets.find((set) => set.prompt && describeInputs(set.prompt, set.review) === inputs);
    if (!same) return;
    const seedAt = findInput(prompt, [id, "latent"], SEEDS);
    if (!seedAt) throw new Error("No seed before this node that could be moved on: change it by hand.");
    await setPromptValue(...seedAt, (seed) => seed + same.drafts.length);
  }
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
