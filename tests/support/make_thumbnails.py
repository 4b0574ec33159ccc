"""Draws workflows/*.jpg, the pictures of the template browser: a frame of the draft beside the same frame refined.

    PYTHONPATH=.:tests python tests/support/make_thumbnails.py [NAME ...]

All are clips of the embedded model, as no machine of this project has held the released weights; the picture says so.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from support.workflow_files import WORKFLOWS
from torch import Tensor

from flashvideo_core.pipeline import Pipeline, draft, load_pipeline, refine

HEIGHT, MARGIN, CAPTION = 340, 16, 44  # of the refined frame, in pixels
BACKGROUND, TEXT, CHOSEN = "#14324d", "#ffffff", "#4a9eff"
FRAME = 8  # of 17: in the middle of the movement


@dataclass(frozen=True)
class Thumbnail:
    """A prompt of the embedded model's world, the seeds of its drafts, of which the first is refined, and a caption."""

    prompt: str
    seeds: tuple[int, ...]
    left: str = "draft"
    lora: str | None = None  # on stage 2


THUMBNAILS = {
    "tiny-one-evaluation": Thumbnail("a large red circle moves left over a grey background", (2,), lora="embedded"),
    "tiny-two-stage": Thumbnail("a large green square moves right over a white background", (2, 3), "drafts"),
    "released-two-stage-with-review": Thumbnail("a large red ball moves left over a blue background", (2, 1), "drafts"),
    "low-memory": Thumbnail("a large yellow triangle moves up over a black background", (1,)),
    "faster-stage-2": Thumbnail("a large blue ball moves up over a white background", (1,)),
    "refine-a-video": Thumbnail("a large white ball moves right over a green background", (4,), "your clip"),
    "refine-a-long-video": Thumbnail("a large green triangle moves left over a white background", (6,), "your film"),
    "resume-from-draft": Thumbnail("a large blue square moves down over a yellow background", (5,), "saved draft"),
}


def to_image(frames: Tensor, size: tuple[int, int]) -> Image.Image:
    """One frame of [F, H, W, 3] in 0..1, at a size (width, height)."""
    pixels = frames[FRAME].mul(255).round().byte().numpy()
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def draw(pipe: Pipeline, thumbnail: Thumbnail) -> Image.Image:
    """The drafts one below the other, the chosen one framed, and the refined frame beside them."""
    drafts = [draft(pipe, thumbnail.prompt, seed=seed) for seed in thumbnail.seeds]
    clip = refine(pipe, drafts[0])
    rows = len(drafts)
    low = (HEIGHT - (rows - 1) * MARGIN) // rows
    small, large = (3 * low // 2, low), (3 * HEIGHT // 2, HEIGHT)
    right = 2 * MARGIN + small[0]
    picture = Image.new("RGB", (right + large[0] + MARGIN, HEIGHT + MARGIN + CAPTION), BACKGROUND)
    canvas, font = ImageDraw.Draw(picture), ImageFont.load_default(20)
    for row, d in enumerate(drafts):
        picture.paste(to_image(d.frames, small), (MARGIN, MARGIN + row * (low + MARGIN)))
    if rows > 1:
        canvas.rectangle([MARGIN - 4, MARGIN - 4, MARGIN + small[0] + 3, MARGIN + low + 3], outline=CHOSEN, width=4)
    picture.paste(to_image(clip.frames, large), (right, MARGIN))
    baseline = MARGIN + HEIGHT + 8
    canvas.text((MARGIN, baseline), thumbnail.left, TEXT, font)
    canvas.text((right, baseline), "refined (both: embedded tiny model)", TEXT, font)
    return picture


def write_thumbnails(names: Iterable[str], folder: Path = WORKFLOWS) -> None:
    for name in names:
        thumbnail = THUMBNAILS[name]
        draw(load_pipeline(lora=thumbnail.lora), thumbnail).save(folder / f"{name}.jpg", quality=85)


if __name__ == "__main__":
    write_thumbnails(sys.argv[1:] or THUMBNAILS)
