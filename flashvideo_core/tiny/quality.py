"""Measures of clips without a network: error against an original, sharpness, faithfulness to a draft.

Clips are float32 [F, H, W, 3] in 0..1, arrays or tensors.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError

ClipLike = np.ndarray | Tensor
MATCH = 0.9  # a refined clip with at least this low_frequency_match shows what its draft shows


def compute_psnr(clip: ClipLike, reference: ClipLike) -> float:
    """Peak signal-to-noise ratio in dB over the whole clip, for a peak of 1; infinite for equal clips."""
    seen, wanted = to_planar(clip), to_planar(reference)
    if seen.shape != wanted.shape:
        raise InputError(f"clips of one size are compared, got {list(seen.shape)} and {list(wanted.shape)}")
    error = (seen - wanted).double().square().mean()
    return float("inf") if error == 0 else float(-10 * torch.log10(error))


def measure_sharpness(clip: ClipLike, fraction: float = 0.002) -> float:
    """Mean colour gradient, per pixel, of the strongest edges: the sharpest `fraction` of the pixels of each frame.

    Sobel derivatives (which average noise along the edge), root of the summed squares over both axes and the three
    channels. A blur spreads an edge over more pixels and so lowers it; a given share of the pixels, not a threshold,
    keeps clips of one size comparable. An ideal step from black to white gives 0.87, the same over 4 pixels about 0.43.
    """
    frames = F.pad(to_planar(clip), (1, 1, 1, 1), mode="replicate")
    smooth, slope = torch.tensor([1.0, 2.0, 1.0]) / 4, torch.tensor([-1.0, 0.0, 1.0]) / 2
    kernels = torch.stack([smooth[:, None] * slope, slope[:, None] * smooth]).repeat(3, 1, 1)[:, None]
    strength = F.conv2d(frames, kernels, groups=3).square().sum(1).sqrt().flatten(1)
    return float(strength.topk(max(1, round(fraction * strength.shape[1])), dim=1).values.mean())


def match_low_frequencies(refined: ClipLike, draft: ClipLike) -> float:
    """How much of the draft's low frequencies the refined clip keeps: 1 is all, 0 or less is nothing.

    The refined clip is averaged down to the draft's size and both are blurred over a twelfth of the height; the result
    is 1 - (squared difference) / (squared deviation of the draft from its own mean colour). From MATCH on it counts
    as a match: a shape moved by a fifth of its width or painted in a neighbouring colour falls below.
    """
    fine, coarse = to_planar(refined), to_planar(draft)
    if len(fine) != len(coarse):
        raise InputError(f"the refined clip has {len(fine)} frames, its draft {len(coarse)}")
    fine = _blur(F.interpolate(fine, size=coarse.shape[2:], mode="area"))
    coarse = _blur(coarse)
    spread = (coarse - coarse.mean((0, 2, 3), keepdim=True)).square().mean()
    return float(1 - (fine - coarse).square().mean() / spread.clamp_min(1e-6))


def to_planar(clip: ClipLike) -> Tensor:
    """The clip as float32 [F, 3, H, W]. Raises InputError for anything but a clip, and for NaN or infinity."""
    frames = torch.as_tensor(clip, dtype=torch.float32)
    if frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise InputError(f"a clip is [frames, height, width, 3] in 0..1, got {list(frames.shape)}")
    if not frames.isfinite().all():
        raise InputError("the clip holds values that are not finite")
    return frames.permute(0, 3, 1, 2)


def _blur(frames: Tensor) -> Tensor:
    """Two passes of a box of a twelfth of the height, an odd number of pixels."""
    radius = max(1, round(frames.shape[2] / 24))
    for _ in range(2):
        frames = F.avg_pool2d(frames, 2 * radius + 1, stride=1, padding=radius, count_include_pad=False)
    return frames
