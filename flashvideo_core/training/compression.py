"""JPEG and video compression of DEG_pixel: a clip [3, F, h, w] in -1..1 through a codec, in memory.

All three go through FFmpeg's codecs (PyAV), on one thread each, so that the bytes repeat. JPEG too, although Pillow
writes one in a line: its quantisation rounds otherwise, so cached references and what is learnt from them would change.
"""

from collections.abc import Mapping
from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

JPEG_QSCALE = 12  # the mjpeg quantiser that equals libjpeg's quality 50, measured by PSNR against Pillow
DECODERS = {"libx264": "h264"}  # where the decoder has another name than the encoder


def compress_jpeg(frames: Tensor, quality: float) -> Tensor:
    """Every frame through a JPEG file of the given quality (1..100, the scale of libjpeg)."""
    factor = 50 / quality if quality < 50 else 2 - quality / 50  # libjpeg's factor on its quantisation tables
    qscale = max(1, min(31, round(JPEG_QSCALE * factor)))
    return _encode_and_decode(frames, "mjpeg", "yuvj420p", {"qmin": str(qscale), "qmax": str(qscale)})


def compress_h264(frames: Tensor, crf: float) -> Tensor:
    """The clip through H.264 at constant rate factor `crf` (0..51)."""
    # mbtree=0: with B-frames x264's macroblock tree reads unset memory at these sizes, and no two runs agree
    options = {"crf": f"{crf:.2f}", "preset": "veryfast", "x264-params": "mbtree=0"}
    return _encode_and_decode(frames, "libx264", "yuv420p", options)


def compress_mpeg4(frames: Tensor, qscale: float) -> Tensor:
    """The clip through MPEG-4 part 2 at a fixed quantiser (1..31)."""
    options = {"qmin": str(round(qscale)), "qmax": str(round(qscale))}
    return _encode_and_decode(frames, "mpeg4", "yuv420p", options)


def to_uint8(frames: Tensor) -> np.ndarray:
    """[3, F, h, w] in -1..1 -> [F, h, w, 3] in 0..255."""
    return ((frames.float().cpu() + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 3, 0).contiguous().numpy()


def _encode_and_decode(frames: Tensor, encoder: str, pixel_format: str, options: Mapping[str, str]) -> Tensor:
    """4:2:0 needs even sizes: an odd edge is replicated before and cut after."""
    height, width = frames.shape[-2:]
    rgb = to_uint8(F.pad(frames, (0, width % 2, 0, height % 2), mode="replicate"))
    decoded = _decode(_encode(rgb, encoder, pixel_format, options), DECODERS.get(encoder, encoder))
    assert len(decoded) == frames.shape[1]
    return (torch.from_numpy(decoded).permute(3, 0, 1, 2)[..., :height, :width] / 127.5 - 1).to(frames)


def _encode(rgb: np.ndarray, encoder: str, pixel_format: str, options: Mapping[str, str]) -> list:
    """The packets of pictures [F, h, w, 3] of 8 bits."""
    import av
    from av.video.reformatter import VideoReformatter

    context, to_yuv = av.CodecContext.create(encoder, "w"), VideoReformatter()
    context.height, context.width, context.pix_fmt = *rgb.shape[1:3], pixel_format
    context.time_base, context.framerate = Fraction(1, 8), Fraction(8)
    context.options, context.thread_count = dict(options), 1
    packets = []
    for i, picture in enumerate(rgb):
        frame = to_yuv.reformat(av.VideoFrame.from_ndarray(picture, "rgb24"), format=pixel_format)
        frame.pts, frame.time_base = i, context.time_base
        packets += context.encode(frame)
    return packets + context.encode(None)


def _decode(packets: list, decoder: str) -> np.ndarray:
    """The pictures [F, h, w, 3] of 8 bits in the packets."""
    import av
    from av.video.reformatter import VideoReformatter

    context, to_rgb = av.CodecContext.create(decoder, "r"), VideoReformatter()
    context.thread_count = 1
    frames = [frame for packet in [*packets, None] for frame in context.decode(packet)]
    return np.stack([to_rgb.reformat(frame, format="rgb24").to_ndarray() for frame in frames])
