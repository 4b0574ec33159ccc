"""Animated WebP, which FFmpeg does not read: through Pillow into a container of uncompressed frames in memory."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np

from ..errors import InputError

UNTIMED = 100  # ms of a frame whose duration is 0, as browsers show it
MILLISECOND = Fraction(1, 1000)


def unpack_animated_webp(path: Path) -> BytesIO:
    """A NUT file with the frames of an animated WebP, RGB or RGBA, at their times in ms; those before the first that
    cannot be decoded. Raises InputError without Pillow, and for a file that it cannot open."""
    frames = list(_read_frames(path))
    if not frames:
        raise InputError(f"{path}: no frame could be decoded")
    unpacked, time = BytesIO(), 0
    with av.open(unpacked, "w", format="nut") as container:
        height, width, channels = frames[0][0].shape
        pixels = "rgba" if channels == 4 else "rgb24"
        stream = container.add_stream("rawvideo", rate=1000, options={})
        stream.height, stream.width, stream.pix_fmt = height, width, pixels
        stream.time_base = stream.codec_context.time_base = MILLISECOND
        for picture, duration in frames:
            frame = av.VideoFrame.from_ndarray(picture, pixels)
            frame.pts, frame.time_base = time, MILLISECOND
            container.mux(stream.encode(frame))
            time += duration or UNTIMED
        container.mux(stream.encode(None))
    unpacked.seek(0)
    return unpacked


def _read_frames(path: Path) -> Iterator[tuple[np.ndarray, int]]:
    """Pictures uint8 [H, W, 3 or 4] as composed, and for how many ms each is shown."""
    try:
        from PIL import Image, ImageSequence
    except ImportError:
        raise InputError(
            f"{path}: an animated WebP is read through Pillow, which is not installed (pip install pillow)"
        ) from None
    try:
        with Image.open(path) as image:
            for picture in ImageSequence.Iterator(image):
                yield np.array(picture), picture.info["duration"]
    except (OSError, EOFError, ValueError):
        return
