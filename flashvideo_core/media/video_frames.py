"""The frames of a video file, decoded when they are read: of a film of any length only those that are asked for are in
memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch

from ..errors import InputError
from .demux import Decoder
from .film import open_film


@dataclass(frozen=True)
class VideoFrames:
    """A types.FrameReader. Frame i is number order[i], which ascend, of those that can be decoded from `start` on;
    size (height, width) as shown.
    """

    path: Path
    size: tuple[int, int]
    start: int
    order: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.order)

    def cut(self, count: int) -> VideoFrames:
        """The first `count` of them."""
        return replace(self, order=self.order[:count])

    def read(self, ranges: Iterable[tuple[int, int]]) -> Iterator[torch.Tensor]:
        """float32 [n, H, W, 3] in 0..1 for each of the ascending ranges; the file is decoded once, up to the last.

        Raises InputError for a file that is not what it was.
        """
        with open_film(self.path) as film:
            decoded = enumerate(islice(Decoder(film.container, film.stream).frames(), self.start, None))
            number, picture = -1, None
            for first, stop in ranges:
                pictures = []
                for wanted in self.order[first:stop]:
                    if wanted != number:
                        number, frame = next((found for found in decoded if found[0] == wanted), (-1, None))
                        if frame is None or film.shown_size(frame) != self.size:
                            raise InputError(f"{self.path}: has changed since it was first read")
                        picture = film.show(frame)
                    pictures.append(picture)
                yield torch.stack(pictures)
