"""Clips whose frames can be told apart, and test files written with PyAV alone."""

import math
from fractions import Fraction

import av
import torch


def smooth_clip(frames=9, height=64, width=96):
    """[F, H, W, 3] in 0..1: a soft blob that moves over a colour gradient; frame f is told apart by its brightness."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    base = torch.stack([x, y, 1 - x], dim=-1) * 0.5
    blobs = [torch.exp(-((x - 0.2 - 0.05 * f) ** 2 + (y - 0.5) ** 2) / 0.02) for f in range(frames)]
    return torch.stack([base + 0.3 * blob[..., None] + 0.02 * f for f, blob in enumerate(blobs)]).clamp(0, 1)


def psnr(a, b):
    return -10 * math.log10((a - b).square().mean().item())


def encode_clip(path, clip, codec="libx264", pixels="yuv420p", pts=None, rate=8, rotation=None, **context):
    """A test file written with PyAV alone; pts in 1/1000 s."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = *clip.shape[1:3], pixels
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        for key, value in context.items():
            setattr(stream.codec_context, key, value)
        for i, picture in enumerate((clip * 255).round().byte().numpy()):
            kind = "rgba" if picture.shape[-1] == 4 else "rgb24"
            frame = av.VideoFrame.from_ndarray(picture, kind)
            frame.pts, frame.time_base = (pts[i] if pts else i * 1000 // rate), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
