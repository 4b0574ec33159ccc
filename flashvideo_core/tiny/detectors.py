"""Classical judges of generated clips: what is seen in them, how sharp they are, how true to their draft.

Nothing here is learnt. Clips are float32 [F, H, W, 3] in 0..1, arrays or tensors, of any size from 64x96 on.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ..errors import InputError
from .shapes import APOTHEM, signed_distance
from .world import COLOR_RGB

Color = tuple[int, int, int]
ROWS = 128  # clips are resampled to this many rows before anything is detected
CHROMA, LUMA = 0.11, 0.17  # a pixel this far from the background, in colour or in brightness, belongs to the shape
SMALLEST = 0.012  # area of the smallest thing taken for a shape, in squared frame heights (a small star has 0.1)
STILL = 0.07  # net displacements below this many frame heights are jitter (the slowest true one is 0.13)
HOP = 0.045  # a bounce rises and falls by at least this many frame heights (the lowest true one is 0.11)
TILTS = np.deg2rad(np.arange(-24, 25, 6))  # at which shapes are compared
GRID, EXTENT = 48, 1.1  # the grid on which shapes of unit area are compared: points a side, and half its side
MATCH = 0.9  # a refined clip with at least this low_frequency_match shows what its draft shows


@dataclass(frozen=True)
class Detection:
    """What is seen in a clip; color, shape and motion are None where most of the frames show no shape."""

    color: str | None
    shape: str | None
    motion: str | None
    area: float  # of the shape in squared frame heights, the median over the frames
    track: np.ndarray  # [F, 2] centre (x, y) of the shape in frame heights from the upper left, NaN where unseen


def detect(clip: np.ndarray | torch.Tensor, colors: Mapping[str, Color] = COLOR_RGB) -> Detection:
    """Finds the one shape in a clip [F, H, W, 3] and names what it is, its colour from `colors` (RGB, 0..255).

    ValueError for anything but such a clip.
    """
    frames = F.interpolate(_planar(clip), size=_working_size(clip), mode="bilinear", antialias=True)
    mask = _largest_component(_foreground(frames))
    areas = mask.sum((1, 2)).numpy() / ROWS**2
    seen = areas > SMALLEST
    track = np.full((len(mask), 2), np.nan)
    track[seen] = _centres(mask[seen]) / ROWS
    if seen.mean() < 0.5:
        return Detection(None, None, None, 0.0, track)
    color, shape = _name_color(frames[seen], mask[seen], colors), _name_shape(mask[seen], track[seen] * ROWS)
    return Detection(color, shape, _name_motion(track), float(np.median(areas[seen])), track)


def psnr(clip: np.ndarray | torch.Tensor, reference: np.ndarray | torch.Tensor) -> float:
    """Peak signal-to-noise ratio in dB over the whole clip, for a peak of 1; infinite for equal clips."""
    seen, wanted = _planar(clip), _planar(reference)
    if seen.shape != wanted.shape:
        raise InputError(f"clips of one size are compared, got {list(seen.shape)} and {list(wanted.shape)}")
    error = (seen - wanted).double().square().mean()
    return float("inf") if error == 0 else float(-10 * torch.log10(error))


def edge_sharpness(clip: np.ndarray | torch.Tensor, fraction: float = 0.002) -> float:
    """Mean colour gradient, per pixel, of the strongest edges: the sharpest `fraction` of the pixels of each frame.

    Sobel derivatives (which average noise along the edge), root of the summed squares over both axes and the three
    channels. A blur spreads an edge over more pixels and so lowers it; a given share of the pixels, not a threshold,
    keeps clips of one size comparable. An ideal step from black to white gives 0.87, the same over 4 pixels about 0.43.
    """
    frames = F.pad(_planar(clip), (1, 1, 1, 1), mode="replicate")
    smooth, slope = torch.tensor([1.0, 2.0, 1.0]) / 4, torch.tensor([-1.0, 0.0, 1.0]) / 2
    kernels = torch.stack([smooth[:, None] * slope, slope[:, None] * smooth]).repeat(3, 1, 1)[:, None]
    strength = F.conv2d(frames, kernels, groups=3).square().sum(1).sqrt().flatten(1)
    return float(strength.topk(max(1, round(fraction * strength.shape[1])), dim=1).values.mean())


def low_frequency_match(refined: np.ndarray | torch.Tensor, draft: np.ndarray | torch.Tensor) -> float:
    """How much of the draft's low frequencies the refined clip keeps: 1 is all, 0 or less is nothing.

    The refined clip is averaged down to the draft's size and both are blurred over a twelfth of the height; the result
    is 1 - (squared difference) / (squared deviation of the draft from its own mean colour). From MATCH on it counts
    as a match: a shape moved by a fifth of its width or painted in a neighbouring colour falls below.
    """
    fine, coarse = _planar(refined), _planar(draft)
    if len(fine) != len(coarse):
        raise InputError(f"the refined clip has {len(fine)} frames, its draft {len(coarse)}")
    fine = _blur(F.interpolate(fine, size=coarse.shape[2:], mode="area"))
    coarse = _blur(coarse)
    spread = (coarse - coarse.mean((0, 2, 3), keepdim=True)).square().mean()
    return float(1 - (fine - coarse).square().mean() / spread.clamp_min(1e-6))


def _planar(clip: np.ndarray | torch.Tensor) -> torch.Tensor:
    """The clip as float32 [F, 3, H, W]."""
    frames = torch.as_tensor(clip, dtype=torch.float32)
    if frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise InputError(f"a clip is [frames, height, width, 3] in 0..1, got {list(frames.shape)}")
    if not frames.isfinite().all():
        raise InputError("the clip holds values that are not finite")
    return frames.permute(0, 3, 1, 2)


def _working_size(clip: np.ndarray | torch.Tensor) -> tuple[int, int]:
    return ROWS, round(ROWS * clip.shape[2] / clip.shape[1])


def _blur(frames: torch.Tensor) -> torch.Tensor:
    """Two passes of a box of a twelfth of the height, an odd number of pixels."""
    radius = max(1, round(frames.shape[2] / 24))
    for _ in range(2):
        frames = F.avg_pool2d(frames, 2 * radius + 1, stride=1, padding=radius, count_include_pad=False)
    return frames


def _foreground(frames: torch.Tensor) -> torch.Tensor:
    """[F, H, W] bool: pixels at least half as far from the background as the inside of the shape is."""
    distance = _distance(frames, _background(frames))
    inside = distance > 1
    if not inside.any():
        return inside
    return distance > max(1.0, 0.4 * float(distance[inside].median()))


def _distance(frames: torch.Tensor, background: torch.Tensor) -> torch.Tensor:
    """[F, H, W] how far each pixel's colour is from the background's; 1 is the least that counts."""
    difference = frames - background
    luma = difference.mean(1, keepdim=True)
    chroma = (difference - luma).square().sum(1).sqrt()
    return torch.maximum(chroma / CHROMA, luma[:, 0].abs() / LUMA)


def _background(frames: torch.Tensor) -> torch.Tensor:
    """[3, H, W] a colour plane fitted to the clip's temporal median, leaving out whatever stands out of it."""
    height, width = frames.shape[2:]
    still = frames.median(0).values
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    basis = torch.stack([torch.ones_like(x), x, y], -1).reshape(-1, 3)
    plane = still.flatten(1).median(1).values[:, None, None].expand_as(still)
    for _ in range(4):
        ground = (_distance(still[None], plane)[0] < 1).flatten()
        fit = torch.linalg.lstsq(basis[ground], still.flatten(1).T[ground]).solution
        plane = (basis @ fit).T.reshape(3, height, width)
    return plane


def _largest_component(mask: torch.Tensor) -> torch.Tensor:
    """[F, H, W] bool: the largest connected region of each frame, its holes (dark parts of a texture) filled."""
    labels = _spread(torch.arange(1, mask[0].numel() + 1).view_as(mask[0]) * mask, mask)
    body = torch.stack([frame == frame[frame > 0].mode().values if frame.any() else frame > 0 for frame in labels])
    rim = torch.ones_like(body)
    rim[:, 1:-1, 1:-1] = False
    return _spread((rim & ~body).long(), ~body) == 0


def _spread(labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The largest of the labels [F, H, W] carried over each 4-connected region of the mask, in sweeps up to rest."""
    labels, free = labels.numpy().copy(), mask.numpy()
    sweeps = [
        (np.moveaxis(labels, axis, 0)[::way], np.moveaxis(free, axis, 0)[::way]) for axis in (1, 2) for way in (1, -1)
    ]
    while True:
        before = labels.copy()
        for lines, open_ in sweeps:
            for previous, line, where in zip(lines, lines[1:], open_[1:], strict=False):
                np.maximum(line, previous, out=line, where=where)
        if np.array_equal(labels, before):
            return torch.from_numpy(labels)


def _centres(mask: torch.Tensor) -> np.ndarray:
    """[F, 2] the mean (x, y) of each frame's mask, in pixels."""
    weight = mask.double()
    x = (weight.sum(1) * (torch.arange(mask.shape[2]) + 0.5)).sum(1)
    y = (weight.sum(2) * (torch.arange(mask.shape[1]) + 0.5)).sum(1)
    return (torch.stack([x, y], 1) / weight.sum((1, 2))[:, None]).numpy()


def _name_color(frames: torch.Tensor, mask: torch.Tensor, colors: Mapping[str, Color]) -> str:
    """The nearest colour, compared at full brightness, of the brighter half of the shape's inner pixels."""
    inner = -F.max_pool2d(-mask.float(), 5, stride=1, padding=2) > 0
    pixels = frames.permute(0, 2, 3, 1)[inner if inner.any() else mask]
    brightness = pixels.max(1).values
    pixels = pixels[brightness >= brightness.median()]
    seen = (pixels / pixels.max(1, keepdim=True).values.clamp_min(1e-3)).median(0).values
    names = {name: torch.tensor(rgb) / max(rgb) for name, rgb in colors.items()}
    return min(names, key=lambda name: float((names[name] - seen).square().sum()))


def _name_shape(mask: torch.Tensor, centres: np.ndarray) -> str:
    """The shape that overlaps the mask best (intersection over union) at the mask's own area and some small tilt."""
    axis = np.linspace(-1, 1, GRID) * EXTENT
    x, y = axis[None, :], axis[:, None]
    seen = _mean_view(mask, centres, x, y)
    scores = {}
    for shape in APOTHEM:
        views = [_ideal_view(shape, tilt, x, y) for tilt in TILTS]
        scores[shape] = max(np.minimum(seen, view).sum() / np.maximum(seen, view).sum() for view in views)
    return max(scores, key=scores.get)


def _mean_view(mask: torch.Tensor, centres: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The mean over the frames of the mask, moved to the origin and scaled to unit area; cut-off shapes left out."""
    border = torch.ones_like(mask[0])
    border[1:-1, 1:-1] = False
    whole = ~(mask & border).flatten(1).any(1)
    chosen = whole if whole.sum() >= 3 else torch.ones_like(whole)
    views = []
    for frame, (cx, cy) in zip(mask[chosen].float(), centres[chosen.numpy()], strict=True):
        side = float(frame.sum().sqrt())
        grid = np.stack(np.broadcast_arrays((cx + side * x) / mask.shape[2], (cy + side * y) / mask.shape[1]), -1)
        grid = torch.tensor(2 * grid - 1, dtype=torch.float32)
        views.append(F.grid_sample(frame[None, None], grid[None], align_corners=False)[0, 0])
    return torch.stack(views).mean(0).numpy()


def _ideal_view(shape: str, tilt: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The coverage of the shape of unit area, centred in the origin."""
    step = 2 * EXTENT / (GRID - 1)
    area = (signed_distance(shape, 0.5, tilt, x, y) < 0).sum() * step**2
    return np.clip(0.5 - signed_distance(shape, 0.5 / np.sqrt(area), tilt, x, y) / step, 0, 1)


def _name_motion(track: np.ndarray) -> str:
    """From the centres [F, 2] in frame heights: several rises and falls, or the median slope, or nothing."""
    if _turns(track[~np.isnan(track[:, 1]), 1]) >= 2:
        return "bouncing"
    dx, dy = (_travel(values) for values in track.T)
    if max(abs(dx), abs(dy)) < STILL:
        return "still"
    if abs(dx) > abs(dy):
        return "right" if dx > 0 else "left"
    return "down" if dy > 0 else "up"


def _travel(values: np.ndarray) -> float:
    """Displacement over the whole clip by the median of the slopes between all frames (Theil-Sen), deaf to outliers."""
    i, j = np.triu_indices(len(values), 1)
    return float(np.nanmedian((values[j] - values[i]) / (j - i)) * (len(values) - 1))


def _turns(heights: np.ndarray) -> int:
    """How often a path turns back by at least HOP after having gone on by at least HOP."""
    turns, going, extreme = 0, 0, heights[0]
    for value in heights:
        if going == 0 and abs(value - extreme) > HOP:
            going, extreme = np.sign(value - extreme), value
        elif going != 0 and (value - extreme) * going > 0:
            extreme = value
        elif going != 0 and (extreme - value) * going > HOP:
            turns, going, extreme = turns + 1, -going, value
    return turns
