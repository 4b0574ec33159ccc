"""Draws docs/icon.png for the ComfyUI Registry: a small, coarse draft that becomes a large clip.

python tests/support/make_icon.py [FILE.png]
"""

import sys
from pathlib import Path

from PIL import Image, ImageDraw

ICON = Path(__file__).resolve().parents[2] / "docs" / "icon.png"
SIDE, OVERSAMPLING = 400, 4
BACKGROUND, CLIP, DRAFT, PLAY = "#14324d", "#4a9eff", "#5f7f9f", "#ffffff"
DRAFT_PLAY = {(1, 0), (1, 1), (1, 2), (2, 1)}  # (column, row) of the coarse pixels that make a play sign


def draw_icon() -> Image.Image:
    image = Image.new("RGB", (SIDE * OVERSAMPLING, SIDE * OVERSAMPLING), BACKGROUND)
    draw = ImageDraw.Draw(image)

    def scale(*values: float) -> list[float]:
        return [OVERSAMPLING * value for value in values]

    draw.rounded_rectangle(scale(120, 60, 360, 270), radius=24 * OVERSAMPLING, fill=CLIP)
    draw.polygon(scale(205, 110, 205, 220, 300, 165), fill=PLAY)
    for row in range(3):  # the draft: coarse pixels, cut out of the clip's corner
        for column in range(4):
            x, y = 40 + 38 * column, 230 + 38 * row
            draw.rectangle(scale(x - 5, y - 5, x + 38, y + 38), fill=BACKGROUND)
            draw.rectangle(scale(x, y, x + 33, y + 33), fill=PLAY if (column, row) in DRAFT_PLAY else DRAFT)
    return image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    draw_icon().quantize(64).save(sys.argv[1] if len(sys.argv) > 1 else ICON, optimize=True)
