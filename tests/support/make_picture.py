"""Films the editor for the README: drafts appear in the review node, one is chosen, the refined clip plays.

    PYTHONPATH=.:tests python tests/support/make_picture.py [FILE.webp]

Needs ComfyUI and Chromium, as the browser tests do. What is seen is the real editor running tiny-two-stage on a real
server; only the nodes are laid out closer together, and captions and a pointer are drawn over the page. Clips are
stepped frame by frame, so that they play at their own rate; waiting is shown faster than it is.
"""

import io
import sys
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from support.comfy_server import ComfyServer
from support.comfyui import PACK
from support.editor import Editor
from support.workflow_files import load_workflow

PICTURE = PACK / "docs" / "two-stage.webp"
PAGE_SIZE = (1700, 1100)
FPS, CLIP_FRAMES = 8, 17  # of the tiny model's clips; the film has the same rate
FRAME_MS = 1000 // FPS
WAITING_FRAMES = 16  # of the film, however long the server works
MARGIN, TITLE_HEIGHT, CAPTION_HEIGHT = 20, 30, 44
LAYOUT = {  # position and size of the nodes that are seen; the others are moved away
    "FlashVideoTextEncode": (0, 0, 270, 240),
    "FlashVideoStage1": (0, 290, 270, 375),
    "FlashVideoReview": (310, 0, 400, 375),
    "FlashVideoHandoff": (310, 425, 400, 240),
    "SaveVideo": (750, 0, 404, 375),
    "FlashVideoStage2": (750, 425, 404, 240),
}

PREPARE = """([layout, margin, titleHeight, captionHeight]) => {
  const { ds, canvas } = app.canvas, page = canvas.getBoundingClientRect();
  for (const group of [...app.graph.groups]) app.graph.remove(group);
  for (const id of [...app.graph.reroutes.keys()]) app.graph.removeReroute(id);
  for (const node of app.graph.nodes) {
    const box = layout[node.type];
    node.pos = box ? box.slice(0, 2) : [node.pos[0], node.pos[1] + 5000];
    if (box) node.setSize(box.slice(2));
    for (const widget of node.widgets ?? []) if (widget.name === 'decision') widget.value = 'review';
  }
  ds.scale = 1;
  ds.offset = [300, 230]; // clear of the editor's own bars
  app.canvas.setDirty(true, true);
  const boxes = Object.values(layout);
  const area = {
    x: page.x + ds.offset[0] - margin,
    y: page.y + ds.offset[1] - titleHeight - margin,
    width: Math.max(...boxes.map((box) => box[0] + box[2])) + 2 * margin,
    height: Math.max(...boxes.map((box) => box[1] + box[3])) + titleHeight + 2 * margin + captionHeight,
  };
  document.head.append(Object.assign(document.createElement('style'), { textContent: `
    #film-caption { position: fixed; z-index: 99999; box-sizing: border-box; padding: 0 ${margin}px; color: #fff;
      left: ${area.x}px; top: ${area.y + area.height - captionHeight}px; width: ${area.width}px;
      height: ${captionHeight}px; background: #14324d; font: 600 20px sans-serif;
      display: flex; align-items: center; white-space: pre; }
    #film-pointer { position: fixed; z-index: 99999; width: 28px; pointer-events: none; }
    video::-webkit-media-controls { display: none !important; }` }));
  document.body.insertAdjacentHTML('beforeend', `<div id="film-caption"></div>
    <svg id="film-pointer" viewBox="0 0 24 24"><path fill="#fff" stroke="#000"
      d="M3 2 L3 19 L8 15 L11 22 L14 21 L11 14 L17 14 Z"/></svg>`);
  return area;
}"""
CAPTION = "(text) => (document.getElementById('film-caption').textContent = text)"
POINT = """([x, y]) => {
  Object.assign(document.getElementById('film-pointer').style, { left: `${x - 3}px`, top: `${y - 2}px` });
}"""
SEEK = """(seconds) => Promise.all([...document.querySelectorAll('video')].map((video) => new Promise((done) => {
  video.pause();
  video.addEventListener('seeked', () => requestAnimationFrame(done), { once: true });
  video.currentTime = seconds;
})))"""
LISTEN = """() => {
  window.ended = 0;
  app.api.addEventListener('executing', ({ detail }) => { if (detail === null) window.ended += 1; });
}"""


@dataclass
class Film:
    """Screenshots of a part of the page, each with how long it is shown in milliseconds."""

    editor: Editor
    area: dict[str, float]
    frames: list[Image.Image] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)
    pointer: tuple[float, float] = (0, 0)

    def shoot(self, milliseconds: int = FRAME_MS) -> None:
        self.add(self.screenshot(), milliseconds)

    def screenshot(self) -> Image.Image:
        return Image.open(io.BytesIO(self.editor.page.screenshot(clip=self.area))).convert("RGB")

    def add(self, frame: Image.Image, milliseconds: int = FRAME_MS) -> None:
        """One frame; if it is like the one before, that is shown longer."""
        if self.frames and frame.tobytes() == self.frames[-1].tobytes():
            self.durations[-1] += milliseconds
        else:
            self.frames.append(frame)
            self.durations.append(milliseconds)

    def caption(self, text: str) -> None:
        self.editor.page.evaluate(CAPTION, text)

    def click(self, target) -> None:
        """Moves the pointer to the middle of an element within half a second, then clicks it."""
        box = target.bounding_box()
        start, end = self.pointer, (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        for i in range(1, 5):
            self.pointer = tuple(a + (b - a) * i / 4 for a, b in zip(start, end, strict=True))
            self.editor.page.evaluate(POINT, self.pointer)
            self.shoot()
        self.shoot(400)
        target.click()

    def wait_for_the_server(self, runs: int) -> None:
        """Until so many prompts are through; of the waiting WAITING_FRAMES are kept."""
        seen = [self.screenshot()]
        while self.editor.page.evaluate("() => window.ended") < runs:
            self.editor.page.wait_for_timeout(300)
            seen.append(self.screenshot())
        for i in range(WAITING_FRAMES):
            self.add(seen[i * (len(seen) - 1) // (WAITING_FRAMES - 1)])

    def play(self, times: int) -> None:
        """All clips on the page, from their beginning."""
        for _ in range(times):
            for i in range(CLIP_FRAMES):
                self.editor.page.evaluate(SEEK, (i + 0.5) / FPS)
                self.shoot()

    def save(self, path: Path) -> None:
        first, *rest = self.frames
        options = {"quality": 75, "method": 4, "minimize_size": True, "allow_mixed": True}
        first.save(path, save_all=True, append_images=rest, duration=self.durations, loop=0, **options)


def shoot_film(editor: Editor) -> Film:
    page = editor.page
    editor.open(load_workflow("tiny-two-stage"))
    film = Film(editor, page.evaluate(PREPARE, [LAYOUT, MARGIN, TITLE_HEIGHT, CAPTION_HEIGHT]))
    film.pointer = (film.area["x"] + film.area["width"] / 2, film.area["y"] + film.area["height"] / 3)
    page.evaluate(POINT, film.pointer)
    page.evaluate(LISTEN)
    page.wait_for_timeout(1500)

    film.caption("1   Stage 1 makes small drafts that follow the prompt.")
    film.shoot(800)
    film.click(page.get_by_role("button", name="Make drafts"))
    film.wait_for_the_server(1)
    page.wait_for_function("() => document.querySelectorAll('.flashvideo-review video').length === 2")

    film.caption("2   Look at them and choose one. Nothing behind this node has run yet.")
    film.play(1)
    film.click(page.locator(".flashvideo-review label").nth(1))
    film.play(1)

    film.caption("3   Stage 2 refines the chosen draft, four times as large, in four evaluations.")
    film.click(page.get_by_role("button", name="Refine this draft"))
    film.wait_for_the_server(2)
    page.locator("video[src*=output]:not(.flashvideo-review video)").first.wait_for()
    page.wait_for_timeout(1500)
    film.caption("From 96x64 to 384x256, by the tiny model that comes with this pack, on a CPU.")
    film.play(2)
    return film


def main(path: str = str(PICTURE)) -> None:
    with ComfyServer() as server, Editor(server.url, size=PAGE_SIZE) as editor:
        shoot_film(editor).save(Path(path))


if __name__ == "__main__":
    main(*sys.argv[1:])
