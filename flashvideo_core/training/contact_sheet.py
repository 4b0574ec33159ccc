"""A picture of degraded clips beside their originals, to be looked at before a long training."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from ..errors import InputError
from ..packages import require_package
from ..weights.atomic import atomic_write
from .compression import to_uint8


def write_contact_sheet(pairs: Sequence[tuple[Tensor, Tensor]], path: str | Path, columns: int = 4) -> None:
    """Writes a PNG with one cell a pair (original, degraded): original above degraded, first and last frame side by
    side, `columns` cells a row. All clips are [3, F, h, w] in -1..1.

    Raises InputError for clips of several sizes or none, and where Pillow is absent.
    """
    require_package("PIL", "a contact sheet is written with", "train")
    from PIL import Image

    if not pairs or len({tuple(clip.shape) for pair in pairs for clip in pair}) != 1:
        raise InputError("a contact sheet takes at least one pair of clips, all of one size")
    cells = [np.vstack([np.hstack(to_uint8(clip)[[0, -1]]) for clip in pair]) for pair in pairs]
    cells += [np.zeros_like(cells[0])] * (-len(cells) % columns)
    rows = [np.hstack(cells[i : i + columns]) for i in range(0, len(cells), columns)]
    with atomic_write(Path(path)) as partial:
        Image.fromarray(np.vstack(rows)).save(partial, "PNG")
