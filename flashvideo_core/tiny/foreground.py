"""Where the one shape of a clip is: everything that stands out of a smooth background, as a mask without holes.

Frames are float32 [F, 3, H, W] in 0..1. Connected components and holes are scipy's, imported here when they are needed.
"""

import numpy as np
import torch
from torch import Tensor

from ..packages import require_package

CHROMA, LUMA = 0.11, 0.17  # a pixel this far from the background, in colour or in brightness, belongs to the shape


def check_scipy() -> None:
    """Raises InputError without scipy."""
    require_package("scipy", "shapes are found in clips with", "tiny")


def find_masks(frames: Tensor) -> Tensor:
    """[F, H, W] bool: the largest connected thing of each frame, its holes (dark parts of a texture) filled."""
    check_scipy()
    from scipy import ndimage

    masks = [_keep_largest(frame, ndimage.label(frame)[0]) for frame in find_foreground(frames).numpy()]
    return torch.from_numpy(np.stack([ndimage.binary_fill_holes(mask) for mask in masks]))


def _keep_largest(mask: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The pixels [H, W] of the most frequent label; 0 is the background."""
    return labels == 1 + np.bincount(labels[mask])[1:].argmax() if mask.any() else mask


def find_foreground(frames: Tensor) -> Tensor:
    """[F, H, W] bool: pixels at least half as far from the background as the inside of the shape is."""
    distance = measure_distance(frames, fit_background(frames))
    inside = distance > 1
    if not inside.any():
        return inside
    return distance > max(1.0, 0.4 * float(distance[inside].median()))


def measure_distance(frames: Tensor, background: Tensor) -> Tensor:
    """[F, H, W] how far each pixel's colour is from the background's; 1 is the least that counts."""
    difference = frames - background
    luma = difference.mean(1, keepdim=True)
    chroma = (difference - luma).square().sum(1).sqrt()
    return torch.maximum(chroma / CHROMA, luma[:, 0].abs() / LUMA)


def fit_background(frames: Tensor) -> Tensor:
    """[3, H, W] a colour plane fitted to the clip's temporal median, leaving out whatever stands out of it."""
    height, width = frames.shape[2:]
    still = frames.median(0).values
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    basis = torch.stack([torch.ones_like(x), x, y], -1).reshape(-1, 3)
    plane = still.flatten(1).median(1).values[:, None, None].expand_as(still)
    for _ in range(4):
        ground = (measure_distance(still[None], plane)[0] < 1).flatten()
        fit = torch.linalg.lstsq(basis[ground], still.flatten(1).T[ground]).solution
        plane = (basis @ fit).T.reshape(3, height, width)
    return plane
