// Prompts, graphs in the API form: {node id: {class_type, inputs, _meta}}, where an input is a value or a link
// [node id, output]. Nothing here knows the editor. Sets of ids are walked in order, also over what is added meanwhile.

export const REVIEW = "FlashVideoReview"; // the class of the node that shows the drafts
export const SEEDS = ["seed", "noise_seed"]; // inputs that hold one

const isLink = Array.isArray; // the editor wraps values that are lists

/** The ids of the nodes that others depend on, these included. What stands before `end` does not count. */
export function findUpstream(prompt, starts, end) {
  const found = new Set(starts);
  for (const id of found) {
    if (id === end) continue;
    for (const value of Object.values(prompt[id].inputs)) if (isLink(value) && prompt[value[0]]) found.add(value[0]);
  }
  return found;
}

/** The ids of the nodes that depend on a node. */
export function findDownstream(prompt, start) {
  const found = new Set([start]);
  for (const id of found) {
    for (const [other, { inputs }] of Object.entries(prompt)) {
      if (Object.values(inputs).some((value) => isLink(value) && value[0] === id)) found.add(other);
    }
  }
  found.delete(start);
  return found;
}

/** The part of a prompt with these ids. */
export function selectNodes(prompt, ids) {
  return Object.fromEntries([...ids].map((id) => [id, prompt[id]]));
}

/** A text that two prompts share where a node depends on the same: on what is upstream of it, and its own values. */
export function describeInputs(prompt, start, withOwn = false) {
  const ids = [...findUpstream(prompt, [start])].filter((id) => withOwn || id !== start).sort();
  return JSON.stringify(ids.map((id) => [id, prompt[id].class_type, Object.entries(prompt[id].inputs).sort()]));
}

/** Where a value stands as it is: [node id, input]; over wires, in a node of one input. Undefined if it is computed. */
export function findLiteral(prompt, id, input) {
  const value = prompt[id].inputs[input];
  if (!isLink(value)) return value === undefined ? undefined : [id, input];
  const inputs = Object.keys(prompt[value[0]]?.inputs ?? {});
  return inputs.length === 1 ? findLiteral(prompt, value[0], inputs[0]) : undefined;
}

/** The nearest input of one of these names upstream of a node's input: [node id, input]. */
export function findInput(prompt, [start, ...through], names) {
  const links = through.length ? [prompt[start].inputs[through[0]]?.[0]].filter((id) => prompt[id]) : [start];
  for (const id of findUpstream(prompt, links)) {
    const input = names.find((name) => name in prompt[id].inputs);
    if (input) return [id, input];
  }
}

/** The title of a node in the editor and its id. */
export function nameNode(prompt, id) {
  return `“${prompt[id]?._meta?.title ?? prompt[id]?.class_type ?? "a node"}” (#${id})`;
}

/**
 * The prompt that refines a saved draft: what stands behind the review today, and for whatever that shares with the
 * drafts, what the drafts were made with. Load Latent of the draft takes the review's place.
 *
 * made: the prompt that made the drafts. Throws an Error in words where the two do not fit together.
 */
export function joinPrompts(today, review, made, latent, isOutput) {
  const behind = findDownstream(today, review);
  const outputs = [...behind].filter((id) => isOutput(today[id]));
  if (!outputs.length) throw new Error("Nothing behind this node saves or shows a result.");
  const before = findUpstream(today, [review]);
  for (const id of findUpstream(today, outputs, review)) {
    if (id !== review) checkNode(today, made, id, { isBehind: behind.has(id), isShared: before.has(id) });
  }
  const loader = { class_type: "LoadLatent", inputs: { latent }, _meta: { title: "The chosen draft" } };
  const joined = { ...today, ...made, [review]: loader };
  return selectNodes(joined, findUpstream(joined, outputs));
}

/** Throws unless a node that refining needs is the one that the drafts were made with, where they had one. */
function checkNode(today, made, id, { isBehind, isShared }) {
  const isSame = made[id]?.class_type === today[id].class_type;
  if (isBehind ? !(id in made) : isSame || !(id in made || isShared)) return;
  const change = isBehind
    ? "stood before this node when these drafts were made and stands behind it now"
    : "feeds the drafts and what is behind this node, and is not what it was when these drafts were made";
  throw new Error(`${nameNode(today, id)} ${change}. Undo that change, or make new drafts.`);
}

/** How a draft of a set was made, as far as the prompt tells: {seed, settings}, texts. */
export function describeDraft(made, review, i) {
  const seedAt = made && findInput(made, [review, "latent"], SEEDS);
  if (!seedAt) return { seed: "", settings: "" };
  const [sampler] = seedAt;
  const read = (input) => {
    const at = findLiteral(made, sampler, input);
    return at && made[at[0]].inputs[at[1]];
  };
  const ownSeeds = made[sampler].class_type === "FlashVideoStage1"; // other samplers take one seed for the whole batch
  const seed = read(seedAt[1]);
  const { steps, cfg, width, height, frames } = Object.fromEntries(
    ["steps", "cfg", "width", "height", "frames"].map((name) => [name, read(name)]),
  );
  const preset = read("preset");
  const settings = [
    steps !== undefined && `${steps} steps`,
    cfg !== undefined && `cfg ${cfg}`,
    preset && preset !== "custom" ? preset : width !== undefined && `${width}x${height}`,
    frames !== undefined && `${frames} frames`,
  ];
  return {
    seed: seed === undefined ? "seed over a wire" : `seed ${ownSeeds ? seed + i : seed}`,
    settings: settings.filter(Boolean).join(", "),
  };
}

/** The text that a set was made from, or "". */
export function readPromptText(made, review) {
  const at = made && findInput(made, [review, "latent"], ["prompt", "text"]);
  const text = at && made[at[0]].inputs[at[1]];
  return typeof text === "string" ? text : "";
}
