"""A picture of held-out prompts, draft and refined clip side by side: the sheet of docs/embedded-model.md.

    python benchmarks/contact_sheet.py --out docs/contact-sheet.jpg [--parts runs/tiny] [--prompts 24] [--device cuda]

Of each clip the middle frame is shown, the draft enlarged bilinearly as players do, and under both the prompt. The seed
is the prompt's number: nothing is chosen. The prompts are none of those of `evaluate`, but of the same kind.
"""

import argparse
import io
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from flashvideo_core.components import COMPONENTS, Pipeline, load_pipeline
from flashvideo_core.pipeline import draft
from flashvideo_core.tiny.evaluate_drafts import get_refine_settings, refine_latent
from flashvideo_core.tiny.held_out import sample_held_out
from flashvideo_core.tiny.scores import upsample
from flashvideo_core.vae_passes import encode
from flashvideo_core.weights.atomic import atomic_write

SEED = 4  # of the prompts
COLUMNS = 2
SIZE = (208, 312)  # of a frame on the sheet: GitHub shows a picture some 900 pixels wide, sharper screens twice as many
GAP, LINE, LINES, LETTERS = 8, 22, 3, 66  # pixels between cells, and of a line; lines of a caption, letters of a line
LARGEST = 400_000  # bytes

Cell = tuple[str, Tensor, Tensor]
"""Prompt, and the frames [H, W, 3] in 0..1 of draft and refined clip."""


def make_cells(pipe: Pipeline, count: int) -> Iterator[Cell]:
    """The middle frames of each clip; the refined clip is decoded up to there."""
    for number, held in enumerate(sample_held_out(count, SEED)):
        d = draft(pipe, held.prompt, seed=number)
        settings = get_refine_settings(pipe, seed=number)
        middle = len(d.frames) // 2
        z_ref = encode(pipe, d.frames, settings.size)
        refined = refine_latent(pipe, z_ref, d.prompt, settings, -(-middle // 4) + 1)
        sys.stderr.write(f"{number + 1}/{count} {held.prompt}\n")
        yield held.prompt, upsample(d.frames[middle : middle + 1], settings.size)[0], refined[middle]


def draw_sheet(cells: Sequence[Cell]) -> Image.Image:
    """Cells in rows of COLUMNS, in order."""
    height, width = SIZE[0] + LINES * LINE + GAP, 2 * SIZE[1] + 2
    rows = -(-len(cells) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (width + 2 * GAP) - 2 * GAP, rows * height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(LINE - 3)
    for number, (prompt, *frames) in enumerate(cells):
        y, x = number // COLUMNS * height, number % COLUMNS * (width + 2 * GAP)
        for i, frame in enumerate(frames):
            sheet.paste(to_picture(frame), (x + i * (SIZE[1] + 2), y))
        text = textwrap.shorten(prompt, LINES * LETTERS, placeholder=" ...")
        pen.multiline_text((x, y + SIZE[0] + 2), textwrap.fill(text, LETTERS), "black", font, spacing=2)
    return sheet


def to_picture(frame: Tensor) -> Image.Image:
    """A frame [H, W, 3] in 0..1 at the sheet's size."""
    pixels = (frame.clamp(0, 1) * 255).round().byte().numpy()
    return Image.fromarray(np.ascontiguousarray(pixels)).resize((SIZE[1], SIZE[0]), Image.Resampling.LANCZOS)


def compress(sheet: Image.Image, largest: int = LARGEST) -> bytes:
    """As JPEG, in the best quality that is no larger; in the last one, 40, whatever it has."""
    for quality in range(92, 39, -4):
        file = io.BytesIO()
        sheet.save(file, "JPEG", quality=quality, optimize=True, progressive=True)
        if file.tell() <= largest:
            break
    return file.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--parts", type=Path, help="the folder of a train tiny (default: embedded)")
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--device", help="(default: the best there is)")
    args = parser.parse_args()
    files = {name: args.parts / f"{name}.safetensors" for name in COMPONENTS} if args.parts else {}
    pipe = load_pipeline(**files, device=args.device)
    content = compress(draw_sheet(list(make_cells(pipe, args.prompts))))
    with atomic_write(args.out) as partial:
        partial.write_bytes(content)


if __name__ == "__main__":
    main()
