"""DEG_pixel: what stage 2 learns to undo (arXiv 2502.05179, section 3; in training only, never at inference).

A clip is [3, F, h, w] float32 in -1..1 at low resolution; every operation returns the same shape and range. Within a
clip the kernel, the strengths and the order are fixed, as a camera or a codec would fix them; only noise changes from
frame to frame. All randomness comes from one CPU generator, and the codecs run on one thread, so a seed is a result.

The paper names the four families (blur, resize, noise, compression) and gives no numbers. The numbers here follow the
blind super-resolution practice of Real-ESRGAN (arXiv 2107.10833) and RealBasicVSR (arXiv 2111.12704), scaled where
theirs act on the high-resolution picture.

To add a degradation: the operation in degradation_ops.py (or compression.py), its probability and strengths in
`Degradation`, a function here that samples them, and a line in OPERATIONS. Every field is part of the cache's names.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from ..errors import InputError
from .compression import compress_h264, compress_jpeg, compress_mpeg4
from .degradation_ops import add_gaussian_noise, add_poisson_noise, blur, gaussian_kernel, interpolate, resize_and_back

Range = tuple[float, float]
Choice = TypeVar("Choice")


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


Operation = Callable[[Tensor, Degradation, torch.Generator], Tensor]
"""operation(frames, config, generator) -> frames, with strengths that it samples from the config."""


def degrade(frames: Tensor, config: Degradation, generator: torch.Generator) -> Tensor:
    """[3, F, h, w] in -1..1 -> the same, degraded by sampled operations in sampled order.

    Raises InputError for another shape.
    """
    if frames.ndim != 4 or frames.shape[0] != 3:
        raise InputError(f"a clip is [3, F, h, w], got {list(frames.shape)}")
    for i in torch.randperm(len(OPERATIONS), generator=generator).tolist():
        probability, operation = OPERATIONS[i]
        if _sample_bool(getattr(config, probability), generator):
            frames = operation(frames, config, generator).clamp(-1, 1)
    return frames


def make_draft(clip: Tensor, size: tuple[int, int]) -> Tensor:
    """A clip [3, F, H, W] averaged down to size (height, width): its draft without a flaw."""
    return interpolate(clip, size, "area")


def make_degraded_draft(clip: Tensor, size: tuple[int, int], config: Degradation, seed: int) -> Tensor:
    """The clip as a draft that went wrong: averaged down, then degraded as the seed has it."""
    return degrade(make_draft(clip, size), config, torch.Generator().manual_seed(seed))


def _random_blur(frames: Tensor, config: Degradation, generator: torch.Generator) -> Tensor:
    kind = _choose(("isotropic", "anisotropic", "generalised"), generator, config.blur_kinds)
    sigma_x, sigma_y = (_sample_uniform(config.blur_sigma, generator) for _ in range(2))
    angle, beta = _sample_uniform((0.0, math.pi), generator), _sample_uniform(config.blur_beta, generator)
    sigma_y = sigma_x if kind == "isotropic" else sigma_y
    beta = beta if kind == "generalised" else 1.0
    return blur(frames, gaussian_kernel(sigma_x, sigma_y, angle, beta, config.blur_radius))


def _random_resize(frames: Tensor, config: Degradation, generator: torch.Generator) -> Tensor:
    there, back = (_choose(config.resize_kernels, generator) for _ in range(2))
    return resize_and_back(frames, _sample_uniform(config.resize_scale, generator), there, back)


def _random_noise(frames: Tensor, config: Degradation, generator: torch.Generator) -> Tensor:
    grey = _sample_bool(config.noise_grey, generator)
    if _sample_bool(config.noise_gaussian, generator):
        return add_gaussian_noise(frames, _sample_uniform(config.gaussian_sigma, generator), grey, generator)
    return add_poisson_noise(frames, _sample_uniform(config.poisson_scale, generator), grey, generator)


def _random_jpeg(frames: Tensor, config: Degradation, generator: torch.Generator) -> Tensor:
    return compress_jpeg(frames, _sample_uniform(config.jpeg_quality, generator))


def _random_video(frames: Tensor, config: Degradation, generator: torch.Generator) -> Tensor:
    if _sample_bool(config.video_h264, generator):
        return compress_h264(frames, _sample_uniform(config.h264_crf, generator))
    return compress_mpeg4(frames, _sample_uniform(config.mpeg4_qscale, generator))


# Each by the name of its probability. The order is drawn anew for each clip, but by these positions.
OPERATIONS: tuple[tuple[str, Operation], ...] = (
    ("blur_prob", _random_blur),
    ("resize_prob", _random_resize),
    ("noise_prob", _random_noise),
    ("jpeg_prob", _random_jpeg),
    ("video_prob", _random_video),
)


def _sample_uniform(bounds: Range, generator: torch.Generator) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * torch.rand((), generator=generator).item()


def _sample_bool(probability: float, generator: torch.Generator) -> bool:
    return torch.rand((), generator=generator).item() < probability


def _choose(options: Sequence[Choice], generator: torch.Generator, weights: Sequence[float] | None = None) -> Choice:
    probabilities = torch.tensor(weights or [1.0] * len(options), dtype=torch.float32)
    return options[int(torch.multinomial(probabilities, 1, generator=generator))]
