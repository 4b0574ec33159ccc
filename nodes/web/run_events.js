// What the server says of runs, as they go: texts for a status line, and the drafts of review nodes.

import { api } from "../../scripts/api.js";
import { nameNode, REVIEW } from "./prompt.js";
import { claimWorkflowId, fetchRun, readWorkflowId } from "./runs.js";

/** Calls onStatus(run, text) and onDrafts(run, node id, output) for runs of the workflow on the canvas. */
export function followRuns({ onStatus, onDrafts }) {
  let latest = {};
  const getRun = (id) => {
    if (latest.id !== id) latest = { id, run: fetchRun(id).catch((error) => console.error(error)) };
    return latest.run;
  };
  const listen = (event, act) =>
    api.addEventListener(event, async ({ detail }) => {
      const run = await getRun(detail.prompt_id); // the same promise for all of a run, so the order stays
      // read first: while a tab opens, its graph is there before it is the active workflow, whose id a claim would take
      if (run && run.workflow === readWorkflowId() && run.workflow === claimWorkflowId()) act(run, detail);
    });
  listen("execution_start", (run) => onStatus(run, "Running."));
  listen("progress_state", (run, { nodes }) => {
    const text = describeProgress(run, nodes);
    if (text) onStatus(run, text);
  });
  listen("executed", (run, { node, display_node: shown, output }) => {
    if (output?.drafts) onDrafts(run, shown ?? node, output);
  });
  listen("execution_success", (run) => onStatus(run, hasReview(run) ? "Choose a draft, then refine it." : "Refined."));
  listen("execution_error", (run, { node_id: id, exception_message: message }) => {
    onStatus(run, `Failed in ${nameNode(run.prompt, id)}: ${message}`);
  });
  listen("execution_interrupted", (run) => onStatus(run, "Stopped before it was done."));
}

/** The node at work and how far it is, or undefined between two of them. */
function describeProgress(run, nodes) {
  const [id, state] = Object.entries(nodes).find(([, { state }]) => state === "running") ?? [];
  if (!state) return undefined;
  const steps = state.max > 1 ? `, ${state.value} of ${state.max}` : "";
  return `Running: ${nameNode(run.prompt, id)}${steps}`;
}

function hasReview({ prompt }) {
  return Object.values(prompt).some(({ class_type: type }) => type === REVIEW);
}
