"""A classical judge of generated clips: which shape, colour and motion are seen in them. Nothing here is learnt."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .classify import Color, classify_color, classify_motion, classify_shape
from .foreground import find_masks
from .quality import ClipLike, to_planar
from .scene import COLOR_RGB

ROWS = 128  # clips are resampled to this many rows before anything is detected
SMALLEST = 0.012  # area of the smallest thing taken for a shape, in squared frame heights (a small star has 0.1)


@dataclass(frozen=True)
class Detection:
    """What is seen in a clip; color, shape and motion are None where most of the frames show no shape."""

    color: str | None
    shape: str | None
    motion: str | None
    area: float  # of the shape in squared frame heights, the median over the frames
    track: np.ndarray  # [F, 2] center (x, y) of the shape in frame heights from the upper left, NaN where unseen


def detect(clip: ClipLike, colors: Mapping[str, Color] = COLOR_RGB) -> Detection:
    """Finds the one shape in a clip [F, H, W, 3] in 0..1, of any size from 64x96 on, and names what it is.

    colors: from which its colour is named. Raises InputError for anything but such a clip, and without scipy.
    """
    frames = to_planar(clip)
    size = (ROWS, round(ROWS * frames.shape[3] / frames.shape[2]))
    frames = F.interpolate(frames, size=size, mode="bilinear", antialias=True)
    mask = find_masks(frames)
    areas = mask.sum((1, 2)).numpy() / ROWS**2
    seen = areas > SMALLEST
    track = np.full((len(mask), 2), np.nan)
    track[seen] = locate_centers(mask[seen]) / ROWS
    if seen.mean() < 0.5:
        return Detection(None, None, None, 0.0, track)
    color = classify_color(frames[seen], mask[seen], colors)
    shape = classify_shape(mask[seen], track[seen] * ROWS)
    return Detection(color, shape, classify_motion(track), float(np.median(areas[seen])), track)


def locate_centers(mask: Tensor) -> np.ndarray:
    """[F, 2] the mean (x, y) of each frame's mask [F, H, W], in pixels."""
    weight = mask.double()
    x = (weight.sum(1) * (torch.arange(mask.shape[2]) + 0.5)).sum(1)
    y = (weight.sum(2) * (torch.arange(mask.shape[1]) + 0.5)).sum(1)
    return (torch.stack([x, y], 1) / weight.sum((1, 2))[:, None]).numpy()
