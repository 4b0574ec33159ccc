"""The procedural world of the embedded model: one coloured, textured, moving shape on a background.

Geometry is continuous and in units of the frame height, with the origin in the middle of the frame, x to the right
and y down, so one scene can be rendered directly at any size. Everything is filtered to the pixel's footprint, which
makes a small rendering look like the area-downsampled large one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch

from ..errors import InputError
from .shapes import REACH, checks, dots, noise, signed_distance, stripes

COLOR_RGB = {
    "red": (226, 26, 32),
    "orange": (255, 128, 0),
    "yellow": (250, 230, 30),
    "green": (30, 176, 50),
    "cyan": (40, 218, 228),
    "blue": (30, 72, 240),
    "purple": (152, 48, 216),
    "white": (252, 252, 252),
}
BACKGROUND_RGB = {
    "dark": (28, 28, 32),
    "grey": (118, 118, 120),
    "white": (230, 230, 230),
    "navy": (18, 26, 68),
    "maroon": (78, 20, 36),
    "forest": (20, 54, 38),
    "sand": (176, 150, 105),
}
SHAPES = ("circle", "square", "triangle", "star")
COLORS = tuple(COLOR_RGB)
MOTIONS = ("left", "right", "up", "down", "still", "bouncing")
SIZES = ("small", "medium", "large")
TEXTURES = ("plain", "striped", "dotted", "checkered")
BACKGROUNDS = tuple(BACKGROUND_RGB)
BACKGROUND_TEXTURES = ("plain", "noisy", "gradient", "striped")
SPEEDS = ("very low", "low", "medium", "high", "very high")
CHOICES = {
    "shape": SHAPES,
    "color": COLORS,
    "motion": MOTIONS,
    "size": SIZES,
    "texture": TEXTURES,
    "background": BACKGROUNDS,
    "background_texture": BACKGROUND_TEXTURES,
    "speed": SPEEDS,
}

FRAMES = 17  # a whole clip at 8 fps; motion is defined on these frames
RADIUS = {"small": 0.22, "medium": 0.265, "large": 0.31}
# Per speed, in frame heights: the way of a whole clip, and the height of a bounce. Short ways, because the small VAE
# smears what moves by more than a few latent cells within a group: still frames came back at 33-40 dB, these at 26.
TRAVEL = (0.14, 0.165, 0.19, 0.215, 0.24)
HOP = (0.12, 0.13, 0.14, 0.15, 0.16)
# At most this far, in x and y, lies the middle of a path from the middle of the frame: text alone says where a shape
# will be. What is left to chance is small here and in the textures, so that a short training goes into the outlines.
WANDER = (0.03, 0.02)


@dataclass(frozen=True)
class Scene:
    """One clip, fully determined. Lengths are in frame heights, angles in radians, phases in periods (0..1)."""

    shape: str
    color: str
    motion: str
    size: str
    texture: str
    background: str
    background_texture: str
    speed: str
    radius: float
    x: float  # centre in the first frame (of the floor contact for "bouncing")
    y: float
    dx: float  # displacement from the first to the last frame
    dy: float
    hop: float  # height of a bounce, 0 for all other motions
    hops: float  # bounces in a whole clip
    hop_phase: float
    angle: float
    texture_period: float
    texture_angle: float
    texture_phase: float
    texture_shade: float  # brightness of the texture's second shade
    background_period: float
    background_angle: float
    background_phase: float
    background_seed: int


def is_holdout(color: str, shape: str, motion: str) -> bool:
    """Whether this combination is kept out of training: 64 of 192, in the pattern of a Latin square.

    Every pair of two of the three attributes is seen in training, only never with every third.
    """
    return (COLORS.index(color) + SHAPES.index(shape) + MOTIONS.index(motion)) % 3 == 0


def sample_scene(rng: np.random.Generator, *, holdout: bool = False, **fixed: str) -> Scene:
    """A random scene; `fixed` pins attributes by name (shape="star", background="navy", ...).

    holdout False never gives a held-out (color, shape, motion), True gives only those. ValueError for an unknown
    attribute or value, or when what is pinned cannot be had (a white shape on white, a held-out combination, ...).
    """
    for name, value in fixed.items():
        if name not in CHOICES or value not in CHOICES[name]:
            raise InputError(f"{name}={value!r}: an attribute is one of {', '.join(CHOICES)} with one of its values")
    options = {name: (fixed[name],) if name in fixed else values for name, values in CHOICES.items()}
    names = _pick(rng, _allowed(options, holdout), f"no scene has {fixed} with holdout={holdout}")
    options["background"] = tuple(b for b in options["background"] if not (b == names["color"] == "white"))
    if names["motion"] == "still":
        options["speed"] = SPEEDS[:1]
    for name in ("size", "texture", "background", "background_texture", "speed"):
        names[name] = one_of(options[name], rng)
    return Scene(**names, **_sample_motion(rng, names), **_sample_surface(rng))


def one_of(options: Sequence, rng: np.random.Generator):
    """One of the options, each as probable, drawn as rng.choice draws it.

    rng.choice makes an array of words first, and an interrupt that comes while numpy does so is lost.
    """
    return options[int(rng.integers(len(options)))]


def _allowed(options: dict, holdout: bool) -> list[dict]:
    triples = product(options["color"], options["shape"], options["motion"])
    return [
        {"color": color, "shape": shape, "motion": motion}
        for color, shape, motion in triples
        if is_holdout(color, shape, motion) == holdout
        and not (motion == "still" and SPEEDS[0] not in options["speed"])
        and not (color == "white" and options["background"] == ("white",))
    ]


def _pick(rng: np.random.Generator, candidates: list[dict], complaint: str) -> dict:
    if not candidates:
        raise InputError(complaint)
    return dict(one_of(candidates, rng))


def _sample_motion(rng: np.random.Generator, names: dict) -> dict:
    motion, level = names["motion"], SPEEDS.index(names["speed"])
    radius = RADIUS[names["size"]] * rng.uniform(0.94, 1.06)
    travel = TRAVEL[level] * rng.uniform(0.95, 1.02)
    dx, dy, hop = 0.0, 0.0, 0.0
    if motion in ("left", "right"):
        dx = travel * (1 if motion == "right" else -1)
    elif motion in ("up", "down"):
        dy = travel * (1 if motion == "down" else -1)
    elif motion == "bouncing":
        hop = HOP[level] * rng.uniform(0.95, 1.02)
        dx = rng.uniform(-0.03, 0.03)
    x, y = WANDER[0] * rng.uniform(-1, 1) - dx / 2, WANDER[1] * rng.uniform(-1, 1) - (dy - hop) / 2
    bounce = {"hop": hop, "hops": rng.uniform(1.47, 1.53), "hop_phase": rng.uniform(0, 0.05)}
    return {"radius": radius, "x": x, "y": y, "dx": dx, "dy": dy, **bounce}


def _sample_surface(rng: np.random.Generator) -> dict:
    return {
        "angle": rng.uniform(-0.05, 0.05),
        "texture_period": rng.uniform(0.16, 0.18),
        "texture_angle": rng.uniform(-0.05, 0.05),
        "texture_phase": rng.uniform(0.2, 0.3),
        "texture_shade": rng.uniform(0.6, 0.7),
        "background_period": rng.uniform(0.2, 0.3),
        "background_angle": rng.uniform(0, 2 * np.pi),
        "background_phase": rng.uniform(),
        "background_seed": int(rng.integers(2**31)),
    }


def centre(scene: Scene, frame: int) -> tuple[float, float]:
    """Where the shape's centre is in a frame (0..16), x and y in frame heights from the middle of the frame."""
    t = frame / (FRAMES - 1)
    lift = scene.hop * abs(np.sin(np.pi * (scene.hop_phase + scene.hops * t)))
    return scene.x + scene.dx * t, scene.y + scene.dy * t - lift


def crop_around(point: tuple[float, float], size: tuple[int, int], crop: tuple[int, int]) -> tuple[int, int, int, int]:
    """A crop (top, left, h, w) of a frame of `size` (height, width) with a point (x, y) as near its middle as fits."""
    (x, y), (height, width) = point, size
    middle = (height * (0.5 + y), width / 2 + height * x)
    top, left = (int(min(max(m - c / 2, 0), s - c)) for m, c, s in zip(middle, crop, size, strict=True))
    return top, left, *crop


def render(
    scene: Scene,
    *,
    height: int = 256,
    width: int = 384,
    first: int = 0,
    frames: int = FRAMES,
    crop: tuple[int, int, int, int] | None = None,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """The clip as [3, frames, h, w] in -1..1, from frame `first` on.

    crop (top, left, h, w), in pixels of the full frame, computes only those pixels: equal to slicing the full clip.
    ValueError when the crop or the frames lie outside the clip.
    """
    top, left, h, w = crop or (0, 0, height, width)
    if min(top, left) < 0 or min(h, w) < 1 or top + h > height or left + w > width:
        raise InputError(f"crop {crop} (top, left, height, width) does not lie inside the frame of {height}x{width}")
    if first < 0 or frames < 1 or first + frames > FRAMES:
        raise InputError(f"frames {first}..{first + frames - 1} do not lie inside the clip of {FRAMES}")
    pixel = 1.0 / height
    ys = ((np.arange(height) + 0.5 - height / 2) * pixel)[:, None]
    xs = ((np.arange(width) + 0.5 - width / 2) * pixel)[None, :]
    window = (slice(top, top + h), slice(left, left + w))
    backdrop = _backdrop(scene, xs, ys, window, pixel)
    clip = np.repeat(backdrop[:, None], frames, axis=1)
    for i in range(frames):
        _paint(clip[:, i], scene, xs[:, window[1]], ys[window[0]], first + i, pixel)
    return torch.from_numpy(clip * 2 - 1).to(dtype)


def _backdrop(scene: Scene, xs: np.ndarray, ys: np.ndarray, window: tuple, pixel: float) -> np.ndarray:
    """The background inside the window, [3, h, w] in 0..1: its colour plus one low-contrast relief for all channels."""
    base = np.array(BACKGROUND_RGB[scene.background], np.float32)[:, None, None] / 255
    if scene.background_texture == "noisy":
        relief = 0.045 * noise(scene.background_seed, xs, ys, window, pixel)
    else:
        along = np.cos(scene.background_angle) * xs[:, window[1]] + np.sin(scene.background_angle) * ys[window[0]]
        relief = np.zeros_like(along)
        if scene.background_texture == "gradient":
            relief = 0.1 * along
        elif scene.background_texture == "striped":
            relief = 0.045 * stripes(along, scene.background_period, scene.background_phase, pixel)
    return np.clip(base + relief.astype(np.float32), 0, 1)


def _paint(frame: np.ndarray, scene: Scene, xs: np.ndarray, ys: np.ndarray, index: int, pixel: float) -> None:
    """Blends the shape over one frame [3, h, w], only inside the shape's bounding box."""
    cx, cy = centre(scene, index)
    reach = scene.radius * REACH + pixel
    left, right = np.searchsorted(xs[0], (cx - reach, cx + reach))
    top, bottom = np.searchsorted(ys[:, 0], (cy - reach, cy + reach))
    if left == right or top == bottom:
        return
    x = (xs[:, left:right] - cx).astype(np.float32)
    y = (ys[top:bottom] - cy).astype(np.float32)
    cover = np.clip(0.5 - signed_distance(scene.shape, scene.radius, scene.angle, x, y) / pixel, 0, 1)
    shade = scene.texture_shade + (0.2 if scene.color == "white" else 0.0)  # white must not turn grey
    light = shade + (1 - shade) * _texture(scene, x, y, pixel)
    box = frame[:, top:bottom, left:right]
    color = np.array(COLOR_RGB[scene.color], np.float32)[:, None, None] / 255
    box += cover * (color * light - box)


def _texture(scene: Scene, x: np.ndarray, y: np.ndarray, pixel: float) -> np.ndarray:
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
