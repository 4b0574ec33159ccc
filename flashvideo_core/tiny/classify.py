"""Naming a shape's colour, form and motion from its masks, by formulas."""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .shapes import APOTHEM, signed_distance

Color = tuple[int, int, int]
"""Red, green and blue, 0..255."""

STILL = 0.07  # net displacements below this many frame heights are jitter (the slowest true one is 0.13)
HOP = 0.045  # a bounce rises and falls by at least this many frame heights (the lowest true one is 0.11)
TILTS = np.deg2rad(np.arange(-24, 25, 6))  # at which shapes are compared
GRID, EXTENT = 48, 1.1  # the grid on which shapes of unit area are compared: points a side, and half its side


def classify_color(frames: Tensor, mask: Tensor, colors: Mapping[str, Color]) -> str:
    """The nearest colour, compared at full brightness, of the brighter half of the shape's inner pixels.

    frames [F, 3, H, W] in 0..1, mask [F, H, W] bool.
    """
    inner = -F.max_pool2d(-mask.float(), 5, stride=1, padding=2) > 0
    pixels = frames.permute(0, 2, 3, 1)[inner if inner.any() else mask]
    brightness = pixels.max(1).values
    pixels = pixels[brightness >= brightness.median()]
    seen = (pixels / pixels.max(1, keepdim=True).values.clamp_min(1e-3)).median(0).values
    names = {name: torch.tensor(rgb) / max(rgb) for name, rgb in colors.items()}
    return min(names, key=lambda name: float((names[name] - seen).square().sum()))


def classify_shape(mask: Tensor, centers: np.ndarray) -> str:
    """The shape that overlaps the mask best (intersection over union) at the mask's own area and some small tilt.

    mask [F, H, W] bool; centers [F, 2] of the masks (x, y), in pixels.
    """
    axis = np.linspace(-1, 1, GRID) * EXTENT
    x, y = axis[None, :], axis[:, None]
    seen = _average_views(mask, centers, x, y)
    scores = {}
    for shape in APOTHEM:
        views = [_draw_ideal_view(shape, tilt, x, y) for tilt in TILTS]
        scores[shape] = max(np.minimum(seen, view).sum() / np.maximum(seen, view).sum() for view in views)
    return max(scores, key=scores.get)


def _average_views(mask: Tensor, centers: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The mean over the frames of the mask, moved to the origin and scaled to unit area; cut-off shapes left out."""
    border = torch.ones_like(mask[0])
    border[1:-1, 1:-1] = False
    whole = ~(mask & border).flatten(1).any(1)
    chosen = whole if whole.sum() >= 3 else torch.ones_like(whole)
    views = []
    for frame, (cx, cy) in zip(mask[chosen].float(), centers[chosen.numpy()], strict=True):
        side = float(frame.sum().sqrt())
        grid = np.stack(np.broadcast_arrays((cx + side * x) / mask.shape[2], (cy + side * y) / mask.shape[1]), -1)
        grid = torch.tensor(2 * grid - 1, dtype=torch.float32)
        views.append(F.grid_sample(frame[None, None], grid[None], align_corners=False)[0, 0])
    return torch.stack(views).mean(0).numpy()


def _draw_ideal_view(shape: str, tilt: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The coverage of the shape of unit area, centred in the origin."""
    step = 2 * EXTENT / (GRID - 1)
    area = (signed_distance(shape, 0.5, tilt, x, y) < 0).sum() * step**2
    return np.clip(0.5 - signed_distance(shape, 0.5 / np.sqrt(area), tilt, x, y) / step, 0, 1)


def classify_motion(track: np.ndarray) -> str:
    """From the centers [F, 2] (x, y) in frame heights, NaN where unseen: several rises and falls, or the median slope,
    or nothing."""
    if _count_turns(track[~np.isnan(track[:, 1]), 1]) >= 2:
        return "bouncing"
    dx, dy = (_measure_travel(values) for values in track.T)
    if max(abs(dx), abs(dy)) < STILL:
        return "still"
    if abs(dx) > abs(dy):
        return "right" if dx > 0 else "left"
    return "down" if dy > 0 else "up"


def _measure_travel(values: np.ndarray) -> float:
    """Displacement over the whole clip by the median of the slopes between all frames (Theil-Sen), deaf to outliers."""
    i, j = np.triu_indices(len(values), 1)
    return float(np.nanmedian((values[j] - values[i]) / (j - i)) * (len(values) - 1))


def _count_turns(heights: np.ndarray) -> int:
    """How often a path turns back by at least HOP after having gone on by at least HOP."""
    turns, direction, extreme = 0, 0, heights[0]
    for value in heights:
        if direction == 0 and abs(value - extreme) > HOP:
            direction, extreme = np.sign(value - extreme), value
        elif direction != 0 and (value - extreme) * direction > 0:
            extreme = value
        elif direction != 0 and (extreme - value) * direction > HOP:
            turns, direction, extreme = turns + 1, -direction, value
    return turns
