"""DEG_pixel: what stage 2 learns to undo (paper, degradations; used in training only, never at inference).

A clip is [3, F, h, w] float32 in -1..1 at low resolution; every operation returns the same shape and range. Within a
clip the kernel, the strengths and the order are fixed, as a camera or a codec would fix them; only noise changes from
frame to frame. All randomness comes from one CPU generator, and the codecs run on one thread, so a seed is a result.

The paper names the four families (blur, resize, noise, compression) and gives no numbers. The numbers here follow the
blind super-resolution practice of Real-ESRGAN and RealBasicVSR, scaled where theirs act on the high-resolution picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ..errors import InputError

Range = tuple[float, float]
JPEG_QSCALE = 12  # the mjpeg quantiser that equals libjpeg's quality 50, measured here by PSNR against Pillow


@dataclass(frozen=True)
class Degradation:
    """Probabilities and strengths of DEG_pixel. All probabilities 0: the identity."""

    blur_prob: float = 0.7  # practice: 0.8-1.0; lowered, since a draft of stage 1 is not always soft
    blur_kinds: tuple[float, float, float] = (0.45, 0.25, 0.30)  # Real-ESRGAN: isotropic, anisotropic, generalised
    blur_sigma: Range = (0.2, 1.5)  # low-resolution pixels; Real-ESRGAN's second order (its first, before 4x: 0.2-3)
    blur_beta: Range = (0.5, 4.0)  # Real-ESRGAN: exponent of the generalised Gaussian, 1 is the Gaussian
    blur_radius: int = 5  # 11x11 taps hold 3.3 sigma of the widest kernel
    resize_prob: float = 0.6  # practice: 0.7-1.0 (there the resize to low resolution itself is part of it)
    resize_kernels: tuple[str, ...] = ("area", "bilinear", "bicubic")  # Real-ESRGAN; one each way
    resize_scale: Range = (0.5, 1.25)  # Real-ESRGAN's second order is 0.3-1.2; narrower, since the size is already low
    noise_prob: float = 0.6  # practice: 0.5 Gaussian, else Poisson, always one of the two
    noise_gaussian: float = 0.5  # Real-ESRGAN: share of Gaussian noise, the rest is Poisson
    noise_grey: float = 0.4  # Real-ESRGAN: share of noise that is equal in the three colours
    gaussian_sigma: Range = (1.0, 25.0)  # Real-ESRGAN, second order; standard deviation in 8-bit steps
    poisson_scale: Range = (0.05, 2.5)  # Real-ESRGAN, second order; 1 is the shot noise of 255 photons at white
    jpeg_prob: float = 0.4  # RealBasicVSR applies JPEG always; here it shares the work with video compression
    jpeg_quality: Range = (30.0, 95.0)  # Real-ESRGAN
    video_prob: float = 0.5  # RealBasicVSR: always
    video_h264: float = 0.7  # RealBasicVSR draws among two names of H.264 and MPEG-4: 2/3 H.264
    h264_crf: Range = (20.0, 38.0)  # 23 is x264's default; RealBasicVSR draws bit rates, which mean little across sizes
    mpeg4_qscale: Range = (2.0, 16.0)  # the quantiser, for the same reason; 2 is nearly lossless, 31 the coarsest


def degrade(frames: torch.Tensor, config: Degradation, generator: torch.Generator) -> torch.Tensor:
    """[3, F, h, w] in -1..1 -> the same, degraded by drawn operations in drawn order. ValueError on another shape."""
    if frames.ndim != 4 or frames.shape[0] != 3:
        raise InputError(f"a clip is [3, F, h, w], got {list(frames.shape)}")
    for i in torch.randperm(len(OPERATIONS), generator=generator).tolist():
        name, apply = OPERATIONS[i]
        if _chance(getattr(config, name), generator):
            frames = apply(frames, config, generator).clamp(-1, 1)
    return frames


def draft_of(clip: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """A clip [3, F, H, W] averaged down to size (height, width): its draft without a flaw."""
    return _interpolate(clip, size, "area")


def degraded_draft(clip: torch.Tensor, size: tuple[int, int], config: Degradation, seed: int) -> torch.Tensor:
    """The clip as a draft that went wrong: averaged down, then degraded, as the seed draws it."""
    return degrade(draft_of(clip, size), config, torch.Generator().manual_seed(seed))


def _uniform(bounds: Range, generator: torch.Generator) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * torch.rand((), generator=generator).item()


def _chance(probability: float, generator: torch.Generator) -> bool:
    return torch.rand((), generator=generator).item() < probability


def _pick(options: Sequence, generator: torch.Generator, weights: Sequence[float] | None = None):
    weights = torch.tensor(weights or [1.0] * len(options), dtype=torch.float32)
    return options[int(torch.multinomial(weights, 1, generator=generator))]


# Blur


def gaussian_kernel(sigma_x: float, sigma_y: float, angle: float, beta: float, radius: int) -> torch.Tensor:
    """[2r+1, 2r+1] kernel exp(-(q/2)^beta) of sum 1, where q is the squared distance in units of sigma along the
    rotated axes; beta 1 is the Gaussian."""
    y, x = torch.meshgrid(*[torch.arange(-radius, radius + 1, dtype=torch.float32)] * 2, indexing="ij")
    cos, sin = math.cos(angle), math.sin(angle)
    q = ((cos * x + sin * y) / sigma_x) ** 2 + ((cos * y - sin * x) / sigma_y) ** 2
    kernel = torch.exp(-((0.5 * q) ** beta))
    return kernel / kernel.sum()


def blur(frames: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Convolves every frame and colour with one kernel; edges are replicated, so a constant picture stays constant."""
    c, f, h, w = frames.shape
    r = kernel.shape[-1] // 2
    padded = F.pad(frames.reshape(1, c * f, h, w), (r, r, r, r), mode="replicate")
    kernels = kernel.to(frames).expand(c * f, 1, -1, -1).contiguous()
    return F.conv2d(padded, kernels, groups=c * f).reshape(c, f, h, w)  # grouped: 5 times as fast as a batch here


def _random_blur(frames: torch.Tensor, config: Degradation, generator: torch.Generator) -> torch.Tensor:
    kind = _pick(("isotropic", "anisotropic", "generalised"), generator, config.blur_kinds)
    sigma_x, sigma_y = (_uniform(config.blur_sigma, generator) for _ in range(2))
    angle, beta = _uniform((0.0, math.pi), generator), _uniform(config.blur_beta, generator)
    sigma_y = sigma_x if kind == "isotropic" else sigma_y
    beta = beta if kind == "generalised" else 1.0
    return blur(frames, gaussian_kernel(sigma_x, sigma_y, angle, beta, config.blur_radius))


# Resize


def resize(frames: torch.Tensor, scale: float, there: str, back: str) -> torch.Tensor:
    """To `scale` times the size and back, each with its own kernel (area, bilinear, bicubic), not antialiased."""
    size = frames.shape[-2:]
    small = [max(1, round(n * scale)) for n in size]
    return _interpolate(_interpolate(frames, small, there), size, back)


def _interpolate(frames: torch.Tensor, size: Sequence[int], mode: str) -> torch.Tensor:
    align = None if mode == "area" else False
    return F.interpolate(frames.transpose(0, 1), tuple(size), mode=mode, align_corners=align).transpose(0, 1)


def _random_resize(frames: torch.Tensor, config: Degradation, generator: torch.Generator) -> torch.Tensor:
    there, back = (_pick(config.resize_kernels, generator) for _ in range(2))
    return resize(frames, _uniform(config.resize_scale, generator), there, back)


# Noise


def gaussian_noise(frames: torch.Tensor, sigma: float, grey: bool, generator: torch.Generator) -> torch.Tensor:
    """Adds normal noise of standard deviation `sigma` (8-bit steps), new in every frame; grey: equal in the colours."""
    shape = (1 if grey else 3, *frames.shape[1:])
    return frames + (sigma / 127.5) * torch.randn(shape, generator=generator).to(frames)


def poisson_noise(frames: torch.Tensor, scale: float, grey: bool, generator: torch.Generator) -> torch.Tensor:
    """Adds `scale` times the shot noise of a picture of 255 photons at white; grey: drawn from the luma."""
    photons = (frames.cpu().float().clamp(-1, 1) + 1) * 127.5
    if grey:
        photons = (photons * torch.tensor([0.299, 0.587, 0.114])[:, None, None, None]).sum(0, keepdim=True)
    noise = torch.poisson(photons, generator=generator) - photons
    return frames + (scale / 127.5) * noise.to(frames)


def _random_noise(frames: torch.Tensor, config: Degradation, generator: torch.Generator) -> torch.Tensor:
    grey = _chance(config.noise_grey, generator)
    if _chance(config.noise_gaussian, generator):
        return gaussian_noise(frames, _uniform(config.gaussian_sigma, generator), grey, generator)
    return poisson_noise(frames, _uniform(config.poisson_scale, generator), grey, generator)


# Compression


def jpeg(frames: torch.Tensor, quality: float) -> torch.Tensor:
    """Every frame through a JPEG file of the given quality (1..100, the scale of libjpeg)."""
    factor = 50 / quality if quality < 50 else 2 - quality / 50  # libjpeg's factor on its quantisation tables
    qscale = max(1, min(31, round(JPEG_QSCALE * factor)))
    return _through_codec(frames, "mjpeg", "yuvj420p", {"qmin": str(qscale), "qmax": str(qscale)})


def h264(frames: torch.Tensor, crf: float) -> torch.Tensor:
    """The clip through H.264 at constant rate factor `crf` (0..51)."""
    # mbtree=0: with B-frames x264's macroblock tree reads unset memory at these sizes, and no two runs agree
    options = {"crf": f"{crf:.2f}", "preset": "veryfast", "x264-params": "mbtree=0"}
    return _through_codec(frames, "libx264", "yuv420p", options)


def mpeg4(frames: torch.Tensor, qscale: float) -> torch.Tensor:
    """The clip through MPEG-4 part 2 at a fixed quantiser (1..31)."""
    return _through_codec(frames, "mpeg4", "yuv420p", {"qmin": str(round(qscale)), "qmax": str(round(qscale))})


def _random_jpeg(frames: torch.Tensor, config: Degradation, generator: torch.Generator) -> torch.Tensor:
    return jpeg(frames, _uniform(config.jpeg_quality, generator))


def _random_video(frames: torch.Tensor, config: Degradation, generator: torch.Generator) -> torch.Tensor:
    if _chance(config.video_h264, generator):
        return h264(frames, _uniform(config.h264_crf, generator))
    return mpeg4(frames, _uniform(config.mpeg4_qscale, generator))


def _through_codec(frames: torch.Tensor, encoder: str, pixels: str, options: dict[str, str]) -> torch.Tensor:
    """Encodes the clip in memory and decodes it again, on one thread each so that the bytes repeat. 4:2:0 needs even
    sizes: an odd edge is replicated before and cut after."""
    import av
    from av.video.reformatter import VideoReformatter

    height, width = frames.shape[-2:]
    rgb = to_uint8(F.pad(frames, (0, width % 2, 0, height % 2), mode="replicate"))
    encode, to_yuv, to_rgb = av.CodecContext.create(encoder, "w"), VideoReformatter(), VideoReformatter()
    encode.height, encode.width, encode.pix_fmt = *rgb.shape[1:3], pixels
    encode.time_base, encode.framerate = Fraction(1, 8), Fraction(8)
    encode.options, encode.thread_count = options, 1
    packets = []
    for i, picture in enumerate(rgb):
        frame = to_yuv.reformat(av.VideoFrame.from_ndarray(picture, "rgb24"), format=pixels)
        frame.pts, frame.time_base = i, encode.time_base
        packets += encode.encode(frame)
    packets += encode.encode(None)
    decode = av.CodecContext.create({"libx264": "h264"}.get(encoder, encoder), "r")
    decode.thread_count = 1
    decoded = [frame for packet in [*packets, None] for frame in decode.decode(packet)]
    rgb = np.stack([to_rgb.reformat(frame, format="rgb24").to_ndarray() for frame in decoded])
    assert len(rgb) == frames.shape[1]
    return (torch.from_numpy(rgb).permute(3, 0, 1, 2)[..., :height, :width] / 127.5 - 1).to(frames)


def to_uint8(frames: torch.Tensor) -> np.ndarray:
    """[3, F, h, w] in -1..1 -> [F, h, w, 3] in 0..255."""
    return ((frames.float().cpu() + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 3, 0).contiguous().numpy()


OPERATIONS: tuple[tuple[str, Callable], ...] = (
    ("blur_prob", _random_blur),
    ("resize_prob", _random_resize),
    ("noise_prob", _random_noise),
    ("jpeg_prob", _random_jpeg),
    ("video_prob", _random_video),
)


def contact_sheet(clips: Sequence[tuple[torch.Tensor, torch.Tensor]], path: str | Path, columns: int = 4) -> None:
    """Writes a PNG with one tile a pair (original, degraded), original above degraded, first and last frame side by
    side, `columns` tiles a row. All clips [3, F, h, w] in -1..1 of one size (ValueError otherwise)."""
    import av

    if not clips or len({tuple(clip.shape) for pair in clips for clip in pair}) != 1:
        raise InputError("a contact sheet takes at least one pair of clips, all of one size")
    tiles = [np.vstack([np.hstack(to_uint8(clip)[[0, -1]]) for clip in pair]) for pair in clips]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    sheet = np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])
    png = av.CodecContext.create("png", "w")
    png.height, png.width, png.pix_fmt, png.time_base = *sheet.shape[:2], "rgb24", Fraction(1, 1)
    packets = [*png.encode(av.VideoFrame.from_ndarray(sheet, "rgb24")), *png.encode(None)]
    Path(path).write_bytes(b"".join(bytes(packet) for packet in packets))
