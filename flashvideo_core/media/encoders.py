"""The video stream of a file that is written, with what each encoder needs so that a clip's bytes repeat."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from av import VideoStream
from av.container import OutputContainer

from ..errors import InputError
from .clock import Clock
from .codecs import VideoFormat
from .color import BT709_CODE, LIMITED_RANGE

X265_BLOCK, X265_SMALLEST = 64, 16  # sides of x265's coding blocks: the default, and the smallest that it takes
SVT_LOG = "SVT_LOG"  # the environment variable by which SVT-AV1 is told what to print; 1: errors


def add_video_stream(
    container: OutputContainer, video: VideoFormat, size: tuple[int, int], clock: Clock, crf: float | None
) -> VideoStream:
    """A stream for frames of this (height, width), tagged as BT.709 in limited range.

    Raises InputError for a size that the pixel format does not have.
    """
    height, width = size
    check_size(video, height, width)
    options = encoder_options(video, size, crf, in_order=clock.ticks is not None)
    stream = container.add_stream(video.codec.encoder, rate=clock.rate, options=options)
    stream.height, stream.width, stream.pix_fmt = height, width, video.pixels
    stream.time_base = stream.codec_context.time_base = clock.time_base
    context = stream.codec_context
    context.color_range = LIMITED_RANGE
    context.colorspace = context.color_primaries = context.color_trc = BT709_CODE
    tag_stream(stream, video)
    return stream


def tag_stream(stream: VideoStream, video: VideoFormat) -> None:
    """Apple's players open HEVC under this of its two names only."""
    if video.codec.name == "h265":
        stream.codec_context.codec_tag = "hvc1"


def check_size(video: VideoFormat, height: int, width: int) -> None:
    halves_rows, is_x265 = video.pixels.startswith("yuv420"), video.codec.encoder == "libx265"
    needs = {
        "an even height and width": halves_rows and (height % 2 or width % 2),
        "an even width": width % 2,
        f"more than {X265_SMALLEST} rows or columns": is_x265 and max(height, width) <= X265_SMALLEST,
    }
    for sides in (sides for sides, is_wanting in needs.items() if is_wanting):
        raise InputError(f"{video.codec.name} in {video.pixels} needs {sides}, got {height}x{width}")


def encoder_options(
    video: VideoFormat, size: tuple[int, int], crf: float | None, in_order: bool = False
) -> dict[str, str]:
    """in_order: frames are decoded in the order in which they are shown, without B-frames. At times of their own an mp4
    could not say else how long the last one is shown."""
    quality = {} if crf is None else {"crf": f"{crf:g}"}
    if video.codec.encoder == "libx264":
        # mbtree=0: at the size of a small draft x264's macroblock tree reads unset memory, and the bytes never repeat
        return quality | {"x264-params": "mbtree=0"} | ({"bf": "0"} if in_order else {})
    if video.codec.encoder == "libx265":
        # as x264's; x265's writes past its end, too, and a frame of a single block never repeats
        block = f":ctu={X265_SMALLEST}" if min(size) <= X265_BLOCK else ""
        order = ":bframes=0" if in_order else ""
        return quality | {"x265-params": f"log-level=error:cutree=0{block}{order}"}
    if video.codec.encoder == "libsvtav1":
        return quality | {"preset": "6"}
    return {"profile": "hq", "vendor": "apl0"}  # prores_ks: ProRes 422 HQ


@contextmanager
def quiet_encoders() -> Iterator[None]:
    """SVT-AV1 prints its settings to stderr for every file unless its variable says otherwise."""
    was = os.environ.get(SVT_LOG)
    os.environ.setdefault(SVT_LOG, "1")
    try:
        yield
    finally:
        if was is None:
            os.environ.pop(SVT_LOG, None)
