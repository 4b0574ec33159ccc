"""Drawing a scene as a clip, at any size.

Everything is filtered to the pixel's footprint (shapes.py), which makes a small rendering look like the large one
averaged down.
"""

import numpy as np
import torch

from ..errors import InputError
from .scene import BACKGROUND_RGB, COLOR_RGB, FRAMES, Scene, locate_shape
from .shapes import REACH, checks, dots, noise, signed_distance, stripes

ANGLE, PERIOD, PHASE, NOISE_SEED = np.pi / 3, 0.25, 0.25, 7  # of every background: what varied nobody could tell

Crop = tuple[int, int, int, int]
"""top, left, height, width in pixels of the full frame."""


def render(
    scene: Scene,
    *,
    height: int = 256,
    width: int = 384,
    first: int = 0,
    frames: int = FRAMES,
    crop: Crop | None = None,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """The clip as [3, frames, h, w] in -1..1, from frame `first` on.

    A crop computes only its pixels: equal to slicing the full clip. Raises InputError when the crop or the frames lie
    outside the clip.
    """
    top, left, h, w = crop or (0, 0, height, width)
    if min(top, left) < 0 or min(h, w) < 1 or top + h > height or left + w > width:
        raise InputError(f"crop {crop} (top, left, height, width) does not lie inside the frame of {height}x{width}")
    if first < 0 or frames < 1 or first + frames > FRAMES:
        raise InputError(f"frames {first}..{first + frames - 1} do not lie inside the clip of {FRAMES}")
    pixel = 1.0 / height
    ys = ((np.arange(height) + 0.5 - height / 2) * pixel)[:, None]
    xs = ((np.arange(width) + 0.5 - width / 2) * pixel)[None, :]
    region = (slice(top, top + h), slice(left, left + w))
    background = _render_background(scene, xs, ys, region, pixel)
    clip = np.repeat(background[:, None], frames, axis=1)
    for i in range(frames):
        _paint_shape(clip[:, i], scene, xs[:, region[1]], ys[region[0]], first + i, pixel)
    return torch.from_numpy(clip * 2 - 1).to(dtype)


def _render_background(
    scene: Scene, xs: np.ndarray, ys: np.ndarray, region: tuple[slice, slice], pixel: float
) -> np.ndarray:
    """The background inside the region, [3, h, w] in 0..1: its colour plus one low-contrast relief for all channels."""
    base = np.array(BACKGROUND_RGB[scene.background], np.float32)[:, None, None] / 255
    if scene.background_texture == "noisy":
        relief = 0.045 * noise(NOISE_SEED, xs, ys, region, pixel)
    else:
        along = np.cos(ANGLE) * xs[:, region[1]] + np.sin(ANGLE) * ys[region[0]]
        relief = np.zeros_like(along)
        if scene.background_texture == "gradient":
            relief = 0.1 * along
        elif scene.background_texture == "striped":
            relief = 0.045 * stripes(along, PERIOD, PHASE, pixel)
    return np.clip(base + relief.astype(np.float32), 0, 1)


def _paint_shape(frame: np.ndarray, scene: Scene, xs: np.ndarray, ys: np.ndarray, index: int, pixel: float) -> None:
    """Blends the shape over one frame [3, h, w], only inside the shape's bounding box."""
    cx, cy = locate_shape(scene, index)
    reach = scene.radius * REACH + pixel
    left, right = np.searchsorted(xs[0], (cx - reach, cx + reach))
    top, bottom = np.searchsorted(ys[:, 0], (cy - reach, cy + reach))
    if left == right or top == bottom:
        return
    x = (xs[:, left:right] - cx).astype(np.float32)
    y = (ys[top:bottom] - cy).astype(np.float32)
    cover = np.clip(0.5 - signed_distance(scene.shape, scene.radius, scene.angle, x, y) / pixel, 0, 1)
    shade = scene.texture_shade + (0.2 if scene.color == "white" else 0.0)  # white must not turn grey
    light = shade + (1 - shade) * _render_texture(scene, x, y, pixel)
    box = frame[:, top:bottom, left:right]
    color = np.array(COLOR_RGB[scene.color], np.float32)[:, None, None] / 255
    box += cover * (color * light - box)


def _render_texture(scene: Scene, x: np.ndarray, y: np.ndarray, pixel: float) -> np.ndarray:
    """How much of the brighter shade, 0..1; the texture moves with the shape."""
    if scene.texture == "plain":
        return np.ones_like(x * y)
    c, s = np.float32(np.cos(scene.texture_angle)), np.float32(np.sin(scene.texture_angle))
    u, v = c * x + s * y, c * y - s * x
    spacing = (np.float32(n) for n in (scene.texture_period, scene.texture_phase, pixel))
    if scene.texture == "dotted":
        wave = dots(u, v, *spacing)
    elif scene.texture == "checkered":
        wave = checks(u, v, *spacing)
    else:
        wave = stripes(u, *spacing)
    return 0.5 + 0.5 * wave


def crop_around(point: tuple[float, float], size: tuple[int, int], crop: tuple[int, int]) -> Crop:
    """A crop of `crop` (height, width) out of a frame of `size`, with a point as near its middle as fits.

    The point (x, y) is in frame heights from the middle of the frame, as in a scene.
    """
    (x, y), (height, width) = point, size
    middle = (height * (0.5 + y), width / 2 + height * x)
    top, left = (int(min(max(m - c / 2, 0), s - c)) for m, c, s in zip(middle, crop, size, strict=True))
    return top, left, *crop
