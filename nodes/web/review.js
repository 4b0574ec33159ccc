// FlashVideo Review in the editor: plays the drafts in the node, and buttons that queue only what is needed. Without
// this file the node works all the same, by its two widgets decision and choice.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { findNode } from "./graph.js";
import { REVIEW } from "./prompt.js";
import { addReview } from "./review_node.js";
import { followRuns } from "./run_events.js";
import { claimWorkflowId, fetchFinishedRuns, readWorkflowId } from "./runs.js";

const reviews = new WeakMap(); // by node

app.registerExtension({
  name: "FlashVideo.Review",
  setup() {
    const href = new URL("review.css", import.meta.url).href;
    document.head.append(Object.assign(document.createElement("link"), { rel: "stylesheet", href }));
    api.addEventListener("promptQueueing", claimWorkflowId);
    followRuns({
      onStatus: (run, text) => Object.keys(run.prompt).forEach((id) => getReview(id)?.setStatus(text)),
      onDrafts: (run, id, output) => getReview(id)?.addDrafts(run, id, output),
    });
  },
  nodeCreated(node) {
    if (node.comfyClass === REVIEW) reviews.set(node, addReview(node));
  },
  afterConfigureGraph() {
    addMissedDrafts().catch((error) => console.error(error)); // not waited for: the editor would wait, too
  },
});

function getReview(promptId) {
  return reviews.get(findNode(promptId));
}

/** Adds drafts that were finished while another workflow was on the canvas. */
async function addMissedDrafts() {
  const workflow = readWorkflowId();
  const runs = workflow ? await fetchFinishedRuns(workflow) : [];
  if (readWorkflowId() !== workflow) return; // on to another by now
  for (const run of runs) {
    for (const [id, output] of Object.entries(run.outputs)) {
      if (output.drafts) getReview(id)?.addMissedDrafts(run, id, output);
    }
  }
}
