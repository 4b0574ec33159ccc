// The live preview in motion: the frames that the server sends after an evaluation are played in the node that samples,
// one after the other in the editor's own place for a preview, until the next come or the node is through.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const FRAMES_PER_SECOND = 4; // of the latent, twice the clip's own speed at 8 frames a second; times `speed`
const ENDS = ["execution_success", "execution_error", "execution_interrupted"];

let playing; // {node, timer}

app.registerExtension({
  name: "FlashVideo.Preview",
  setup() {
    api.addEventListener("flashvideo_preview", ({ detail }) => play(detail));
    api.addEventListener("executing", ({ detail: node }) => String(node) !== playing?.node && stop());
    for (const event of ENDS) api.addEventListener(event, stop);
  },
});

function play({ node, prompt_id: prompt, frames, speed = 1 }) {
  stop();
  const pictures = frames.map(toBlob);
  let next = 0;
  const show = () => {
    const ids = { nodeId: node, displayNodeId: node, realNodeId: node, jobId: prompt };
    api.dispatchCustomEvent("b_preview_with_metadata", { blob: pictures[next], ...ids });
    app.canvas.setDirty(true); // the classic canvas does not watch previews
    next = (next + 1) % pictures.length;
  };
  playing = { node: String(node), timer: setInterval(show, 1000 / (FRAMES_PER_SECOND * speed)) };
}

function stop() {
  clearInterval(playing?.timer);
  playing = undefined;
}

function toBlob(base64) {
  return new Blob([Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0))], { type: "image/jpeg" });
}
