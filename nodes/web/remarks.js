// Remarks of the server under our nodes, which the editor shows for ever: one goes when its node's inputs change.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { findNode } from "./graph.js";
import { describeInputs } from "./prompt.js";
import { fetchRun } from "./runs.js";

const TEXT = "$$node-text-preview"; // the editor's widget
const causes = new WeakMap(); // by node: the run that remarked on it, as {prompt}, which comes a little later

app.registerExtension({
  name: "FlashVideo.Remarks",
  setup() {
    let current = {};
    api.addEventListener("execution_start", async ({ detail }) => {
      const started = (current = {});
      started.prompt = (await fetchRun(detail.prompt_id))?.prompt;
      if (started.prompt) removeRemarks(started);
    });
    api.addEventListener("progress_text", ({ detail }) => {
      const node = findNode(detail.nodeId);
      if (node?.comfyClass?.startsWith("FlashVideo")) causes.set(node, current);
    });
  },
});

/** Removes the remarks of earlier runs under the nodes that this run gives other inputs. */
function removeRemarks(started) {
  for (const id of Object.keys(started.prompt)) {
    const node = findNode(id);
    const cause = causes.get(node);
    if (!cause?.prompt || cause === started) continue;
    if (cause.prompt[id] && describeInputs(cause.prompt, id, true) === describeInputs(started.prompt, id, true)) continue;
    causes.delete(node);
    const text = node.widgets.find(({ name }) => name === TEXT);
    if (!text) continue; // newer editors take it away at the end of its run
    node.removeWidget(text);
    node.setSize([node.size[0], node.computeSize()[1]]);
  }
}
