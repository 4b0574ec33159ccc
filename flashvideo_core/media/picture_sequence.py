"""Picture files as the frames of a clip, in the order in which they are given, at a constant rate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch

from ..errors import InputError
from .demux import Decoder
from .film import open_film
from .video_reader import VideoSource, read_video


@dataclass(frozen=True)
class PictureFrames:
    """A types.FrameReader: a picture a frame; size (height, width) as shown."""

    paths: tuple[Path, ...]
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, ranges: Iterable[tuple[int, int]]) -> Iterator[torch.Tensor]:
        """float32 [n, H, W, 3] in 0..1 for each of the ascending ranges. Raises InputError for a picture that is not
        what it was."""
        for first, stop in ranges:
            pictures = [read_video(path, max_frames=1).frames[0] for path in self.paths[first:stop]]
            for path, picture in zip(self.paths[first:stop], pictures, strict=True):
                if tuple(picture.shape[:2]) != self.size:
                    raise InputError(f"{path}: has changed since it was first read")
            yield torch.stack(pictures)

    def cut(self, count: int) -> PictureFrames:
        """The first `count` of them."""
        return PictureFrames(self.paths[:count], self.size)


def survey_pictures(paths: Sequence[Path], fps: Fraction) -> VideoSource:
    """What `survey_video` tells of a video, of pictures at `fps`: no sound, no metadata. Each is opened once.

    Raises InputError for one that cannot be read, and for pictures of several sizes.
    """
    notes: dict[str, None] = {}
    size = None
    for path in paths:
        with open_film(path) as film:
            frame = next(Decoder(film.container, film.stream).frames(), None)
            if frame is None:
                raise InputError(f"{path}: no frame could be decoded")
            shown = film.shown_size(frame)
            notes |= dict.fromkeys(film.describe(frame))
        size = size or shown
        if shown != size:
            now, first = (f"{width}x{height}" for height, width in (shown, size))
            raise InputError(f"{path}: is {now}, and {paths[0].name} is {first}; the pictures of a clip have one size")
    return VideoSource(PictureFrames(tuple(paths), size), fps, None, {}, tuple(notes))
