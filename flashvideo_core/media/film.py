"""The film in a file: opened, its frames as they are to be shown, and what a user should know about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import torch
from av import VideoFrame, VideoStream
from av.container import InputContainer

from .color import frame_to_rgb
from .demux import choose_film, is_shown, open_media, read_packets
from .orientation import (
    EXIF_ORIENTATIONS,
    SQUARE,
    UPRIGHT,
    Orientation,
    describe_aspect,
    frame_orientation,
    scale_to_square,
    square_size,
)
from .picture_files import count_tiff_pages, read_exif_orientation
from .timing import declared_rates

HDR_TRANSFERS = (16, 18)  # H.273: PQ, HLG
PICTURES = ("gif", "apng", "nut")  # and every *_pipe; nut: an unpacked animated WebP, or raw video, which has no aspect


@dataclass(frozen=True)
class Film:
    """The film of an open file."""

    container: InputContainer
    stream: VideoStream
    exif: Orientation  # of a picture file
    aspect: Fraction  # of its pixels, width / height
    pages: int  # of a TIFF; else 0

    @property
    def rates(self) -> tuple[Fraction, Fraction]:
        return declared_rates(self.stream)

    def show(self, frame: VideoFrame) -> torch.Tensor:
        """[H, W, 3] in 0..1, upright, with square pixels."""
        return self._orientation(frame).turn(scale_to_square(frame_to_rgb(frame), self.aspect))

    def shown_size(self, frame: VideoFrame) -> tuple[int, int]:
        """(height, width) of what `show` gives."""
        height, width = square_size(frame.height, frame.width, self.aspect)
        return (width, height) if self._orientation(frame).quarters % 2 else (height, width)

    def describe(self, frame: VideoFrame) -> list[str]:
        """What a user should know about the file that this frame is from."""
        components = frame.format.components
        transfer = self.stream.codec_context.color_trc
        notes = {
            "alpha ignored": any(component.is_alpha for component in components),
            f"{components[0].bits} bits a colour, read without loss": components[0].bits > 8,
            self._orientation(frame).describe(): True,
            describe_aspect(frame.height, frame.width, self.aspect): True,
            f"{self.pages} pages, of which the first is read": self.pages > 1,
            "HDR transfer curve, not tone-mapped": transfer in HDR_TRANSFERS,
            "interlaced, fields not separated": frame.interlaced_frame,
            "some frames are damaged": frame.is_corrupt,
        }
        return [note for note, holds in notes.items() if note and holds]

    def _orientation(self, frame: VideoFrame) -> Orientation:
        return frame_orientation(frame) if self.exif == UPRIGHT else self.exif


@contextmanager
def open_film(path: str | Path) -> Iterator[Film]:
    """The film of a file, while it is open. Raises InputError for a file that cannot be read or has none."""
    with open_media(path) as container:
        stream = choose_film(path, container)
        is_picture = container.format.name in PICTURES or container.format.name.endswith("_pipe")
        aspect = SQUARE if is_picture else stream.sample_aspect_ratio or SQUARE  # viewers of pictures ignore theirs
        exif = EXIF_ORIENTATIONS[read_exif_orientation(Path(path))]
        yield Film(container, stream, exif, aspect, count_tiff_pages(Path(path)))


def index_frames(film: Film) -> tuple[int, list[int]]:
    """How many frames a film has by its packets, and their ascending times in units of its time base; [] where these
    tell no order (none stored; joined files whose times start anew). Leaves the container at its end."""
    times = [(packet.dts, packet.pts) for packet in read_packets(film.container, film.stream) if is_shown(packet)]
    decoding = [dts for dts, _ in times if dts is not None]
    pts = [pts for _, pts in times]
    start_anew = any(later < earlier for earlier, later in pairwise(decoding))
    if start_anew or None in pts or len(set(pts)) < len(pts):
        return len(times), []
    return len(times), sorted(pts)
