// The drafts that a review node has shown, kept in its properties and so in the workflow: a list of sets, the newest
// last. A set is {run, made, review, prompt, drafts, latents}: the run's id and time in milliseconds, the node's id in
// it, the part of its prompt that made the drafts, and the files in ComfyUI's output folder. Older workflows have only
// the list of files.

import { findUpstream, selectNodes } from "./prompt.js";

const KEPT = 20; // sets in a workflow; their files stay

/** The sets of a node. A list of files that an older version left becomes the first. */
export function readSets(node) {
  const sets = (node.properties.draftSets ??= []);
  if (node.properties.drafts?.length) sets.unshift({ drafts: node.properties.drafts });
  delete node.properties.drafts;
  return sets;
}

/** Adds what a run has shown. The same drafts again take their place with what made them this time. */
export function addSet(node, run, review, { drafts, draft_latents: latents }) {
  const sets = readSets(node);
  const made = selectNodes(run.prompt, findUpstream(run.prompt, [review]));
  const set = { run: run.id, made: run.made, review, prompt: made, drafts, latents };
  const same = sets.findIndex((other) => nameFiles(other) === nameFiles(set));
  if (same >= 0) sets[same] = set;
  else sets.push(set);
  sets.sort((a, b) => (a.made ?? 0) - (b.made ?? 0));
  sets.splice(0, sets.length - KEPT);
  return sets.indexOf(set);
}

/** Whether a run's drafts are there. */
export function hasRun(node, id) {
  return readSets(node).some(({ run }) => run === id);
}

function nameFiles({ drafts }) {
  return drafts.map(({ filename }) => filename).join();
}

/** What Load Latent calls the saved latent of a draft. Throws an Error in words if there is none. */
export function nameLatent(set, i) {
  const file = set.latents?.[i];
  if (!file) throw new Error("These drafts are of an older version that did not keep their latents: make them again.");
  return `${file.subfolder}/${file.filename} [${file.type}]`;
}
