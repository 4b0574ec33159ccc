// The panel of a review node: clips to choose from, which drafts they are, what will be refined, what is going on.

import { api } from "../../scripts/api.js";
import { countColumns, playInStep } from "./clips.js";
import { describeDraft, readPromptText } from "./prompt.js";

const CAPTION_HEIGHT = 44; // of a card, without its clip

/**
 * A panel for {choose(i), refine(), makeDrafts(), turn(by)}: its element, show(sets, at, chosen), mark(i) and
 * setStatus(text).
 */
export function createPanel(actions) {
  const name = LiteGraph.uuidv4(); // of the radio buttons
  const clips = element("fieldset", { ariaLabel: "Drafts" });
  const setName = element("span");
  const earlier = button("◀", () => actions.turn(-1), { ariaLabel: "Earlier drafts", title: "Earlier drafts" });
  const later = button("▶", () => actions.turn(1), { ariaLabel: "Later drafts", title: "Later drafts" });
  const pager = element("nav", {}, earlier, setName, later);
  const status = element("p", { role: "status" });
  const target = element("p", { className: "flashvideo-target" });
  const refine = button("Refine this draft", actions.refine);
  const make = button("Make drafts", actions.makeDrafts);
  const buttons = element("div", { className: "flashvideo-buttons" }, refine, make);
  const panel = element("div", { className: "flashvideo-review" }, pager, clips, status, target, buttons);
  let shown = { drafts: [] };

  const fit = () => fitClips(clips);
  new ResizeObserver(fit).observe(clips);
  panel.addEventListener("keydown", (event) => {
    if (!event.ctrlKey && !event.metaKey) event.stopPropagation(); // plain keys belong to the panel, not to the canvas
  });

  function show(sets, at, chosen) {
    shown = sets[at] ?? { drafts: [] };
    const cards = shown.drafts.map((file, i) => createCard(name, shown, i, actions.choose, fit));
    clips.classList.remove("flashvideo-enlarged");
    clips.replaceChildren(...cards);
    playInStep(clips.querySelectorAll("video"));
    pager.hidden = !sets.length;
    setName.textContent = nameSet(shown, at, sets.length);
    setName.title = readPromptText(shown.prompt, shown.review);
    earlier.disabled = at <= 0;
    later.disabled = at >= sets.length - 1;
    refine.disabled = !sets.length;
    make.textContent = sets.length ? "New drafts (next seed)" : "Make drafts";
    mark(chosen);
    fit();
  }
  function mark(chosen) {
    clips.querySelectorAll("input").forEach((radio, i) => (radio.checked = i === chosen));
    const { seed } = shown.drafts.length ? describeDraft(shown.prompt, shown.review, chosen) : {};
    target.textContent = shown.drafts.length ? ["To refine: draft", chosen, seed && `(${seed})`].join(" ") : "";
  }
  return { element: panel, show, mark, setStatus: (text) => (status.textContent = text) };
}

function nameSet({ made, prompt, review }, at, sets) {
  const time = made ? `of ${new Date(made).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}` : "";
  const text = readPromptText(prompt, review);
  return [`Drafts ${time}, set ${at + 1} of ${sets}`, text].filter(Boolean).join(": ");
}

/** One draft: its clip, a button that enlarges it, and the radio button that calls choose(i). */
function createCard(name, set, i, choose, fit) {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const src = api.apiURL(`/view?${new URLSearchParams(set.drafts[i])}`);
  const play = { autoplay: !still, controls: still, loop: true, muted: true, playsInline: true };
  const video = element("video", { src, ...play });
  const radio = element("input", { type: "radio", name });
  const { seed, settings } = describeDraft(set.prompt, set.review, i);
  const title = element("span", {}, radio, [` Draft ${i}`, seed].filter(Boolean).join(" · "));
  const card = element("label", {}, video, title, element("small", { title: settings }, settings));
  const enlarge = button("⤢", () => toggleEnlarged(card, fit), { title: "Enlarge", ariaLabel: `Enlarge draft ${i}` });
  card.append(enlarge);
  radio.addEventListener("change", () => choose(i));
  video.addEventListener("loadedmetadata", fit);
  video.addEventListener("error", () => video.replaceWith("No longer on the server: make drafts again."));
  return card;
}

/** One clip alone, as wide as the node, or all of them again. */
function toggleEnlarged(card, fit) {
  const isEnlarged = card.parentElement.classList.toggle("flashvideo-enlarged");
  for (const other of card.parentElement.children) other.hidden = isEnlarged && other !== card;
  fit();
}

/** Arranges the clips that are not hidden. */
function fitClips(clips) {
  const cards = [...clips.children].filter((card) => !card.hidden);
  const video = cards[0]?.querySelector("video");
  const aspect = video?.videoWidth ? video.videoWidth / video.videoHeight : 16 / 9;
  const columns = countColumns(cards.length, clips.clientWidth, clips.clientHeight, aspect, CAPTION_HEIGHT);
  clips.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
}

function button(text, act, properties) {
  const created = element("button", { type: "button", textContent: text, ...properties });
  created.addEventListener("click", (event) => {
    event.preventDefault(); // inside a label it would also choose
    act();
  });
  return created;
}

/** A DOM element with properties and children. */
function element(tag, properties, ...children) {
  const created = Object.assign(document.createElement(tag), properties);
  created.append(...children);
  return created;
}
