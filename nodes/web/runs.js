// Runs of the server: what was asked in each, for which workflow, and what came of it.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const KEY = "flashvideo_workflow"; // in the workflow's `extra`, which every run of it carries
const RECENT = 50; // finished runs that are looked through
const ids = new WeakMap(); // by open workflow

export function readWorkflowId() {
  return app.rootGraph.extra[KEY];
}

/**
 * The id of the workflow on the canvas, new if it has none. ComfyUI's own id is that of the file, so two tabs of a
 * template share it. They share ours where one is a copy of the other; the copy then gets another.
 */
export function claimWorkflowId() {
  const { extra } = app.rootGraph;
  const { activeWorkflow, openWorkflows } = app.extensionManager.workflow;
  const isTaken = openWorkflows.some((other) => other !== activeWorkflow && ids.get(other) === extra[KEY]);
  if (!extra[KEY] || isTaken) extra[KEY] = ids.get(activeWorkflow) ?? LiteGraph.uuidv4();
  if (activeWorkflow) ids.set(activeWorkflow, extra[KEY]);
  return extra[KEY];
}

/** A run that is queued, at work or finished: {id, prompt, workflow, made}; undefined if the server forgot it. */
export async function fetchRun(id) {
  const { queue_running: running, queue_pending: pending } = await fetchJson("/queue");
  const item = [...running, ...pending].find(([, promptId]) => promptId === id);
  return readRun(item ?? (await fetchJson(`/history/${id}`))[id]?.prompt);
}

/** The finished runs of a workflow, the oldest first, each with its outputs by node id. */
export async function fetchFinishedRuns(workflow) {
  const entries = Object.values(await fetchJson(`/history?max_items=${RECENT}`));
  const runs = entries.map(({ prompt, outputs }) => ({ ...readRun(prompt), outputs }));
  return runs.filter((run) => run.workflow === workflow);
}

function readRun(item) {
  if (!item) return undefined;
  const [, id, prompt, extra] = item;
  return { id, prompt, workflow: extra?.extra_pnginfo?.workflow?.extra?.[KEY], made: extra?.create_time };
}

async function fetchJson(path) {
  const response = await api.fetchApi(path);
  if (!response.ok) throw new Error(`The server answers ${path} with status ${response.status}.`);
  return response.json();
}
