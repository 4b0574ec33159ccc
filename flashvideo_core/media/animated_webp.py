"""Animated WebP, which FFmpeg does not read: through Pillow into a container of uncompressed frames in memory."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
from av import VideoFrame, VideoStream
from av.container import OutputContainer

from ..errors import InputError
from ..packages import require_package

UNTIMED = 100  # ms of a frame whose duration is 0, as browsers show it
MILLISECOND = Fraction(1, 1000)


def unpack_animated_webp(path: Path) -> BytesIO:
    """A NUT file with the frames of an animated WebP, RGB or RGBA, at their times in ms, up to one that is damaged.

    Raises InputError without Pillow, and for a file without any frame.
    """
    unpacked, time, stream = BytesIO(), 0, None
    with av.open(unpacked, "w", format="nut") as container:
        for picture, duration in _read_frames(path):
            pixels = "rgba" if picture.shape[2] == 4 else "rgb24"
            stream = stream or _add_stream(container, picture, pixels)
            frame = VideoFrame.from_ndarray(picture, pixels)
            frame.pts, frame.time_base = time, MILLISECOND
            container.mux(stream.encode(frame))
            time += duration or UNTIMED
        if stream is None:
            raise InputError(f"{path}: no frame could be decoded")
        container.mux(stream.encode(None))
    unpacked.seek(0)
    return unpacked


def _add_stream(container: OutputContainer, picture: np.ndarray, pixels: str) -> VideoStream:
    stream = container.add_stream("rawvideo", rate=1000)
    stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], pixels
    stream.time_base = stream.codec_context.time_base = MILLISECOND
    return stream


def _read_frames(path: Path) -> Iterator[tuple[np.ndarray, int]]:
    """Pictures uint8 [H, W, 3 or 4] as composed, and for how many ms each is shown."""
    require_package("PIL", f"{path}: an animated WebP is read with", "webp")
    from PIL import Image, ImageSequence

    try:
        with Image.open(path) as image:
            for picture in ImageSequence.Iterator(image):
                yield np.array(picture), picture.info["duration"]
    except (OSError, EOFError, ValueError, SyntaxError, Image.DecompressionBombError):
        return
