"""The procedural world of the embedded model: one coloured, textured, moving shape on a background.

A scene is a clip as numbers. Geometry is continuous and in units of the frame height, with the origin in the middle of
the frame, x to the right and y down, so one scene can be rendered directly at any size (render.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeVar

import numpy as np

from ..errors import InputError

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
ATTRIBUTES = {  # name -> its values, in the order of the class indices
    "shape": SHAPES,
    "color": COLORS,
    "motion": MOTIONS,
    "size": SIZES,
    "texture": TEXTURES,
    "background": BACKGROUNDS,
    "background_texture": BACKGROUND_TEXTURES,
    "speed": SPEEDS,
}

Choice = TypeVar("Choice")

FRAMES = 17  # a whole clip at 8 fps; motion is defined on these frames
RADIUS = {"small": 0.25, "medium": 0.285, "large": 0.32}
# Per speed, in frame heights: the way of a whole clip, and the height of a bounce. Short ones, because the small VAE
# smears what moves by more than a few pixels a frame: patches around what stands still came back at 31.7 dB, around
# what went 2 to 4 pixels a frame at 27 to 29, around what bounced by up to 11 at 23 (of 256 rows).
TRAVEL = (0.13, 0.15, 0.17, 0.19, 0.21)
HOP = (0.085, 0.09, 0.095, 0.1, 0.105)
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


def is_holdout(color: str, shape: str, motion: str) -> bool:
    """Whether this combination is kept out of training: 64 of 192, in the pattern of a Latin square.

    Every pair of two of the three attributes is seen in training, only never with every third.
    """
    return (COLORS.index(color) + SHAPES.index(shape) + MOTIONS.index(motion)) % 3 == 0


def sample_scene(rng: np.random.Generator, *, holdout: bool = False, **fixed: str) -> Scene:
    """A random scene; `fixed` pins attributes by name (shape="star", background="navy", ...).

    holdout False never gives a held-out (color, shape, motion), True gives only those. Raises InputError for an unknown
    attribute or value, or when what is pinned cannot be had (a white shape on white, a held-out combination, ...).
    """
    for name, value in fixed.items():
        if name not in ATTRIBUTES or value not in ATTRIBUTES[name]:
            raise InputError(f"{name}={value!r}: an attribute is one of {', '.join(ATTRIBUTES)} with one of its values")
    options = {name: (fixed[name],) if name in fixed else values for name, values in ATTRIBUTES.items()}
    candidates = _list_combinations(options, holdout)
    if not candidates:
        raise InputError(f"no scene has {fixed} with holdout={holdout}")
    names = dict(choose(candidates, rng))
    options["background"] = tuple(b for b in options["background"] if not (b == names["color"] == "white"))
    if names["motion"] == "still":
        options["speed"] = SPEEDS[:1]
    for name in ("size", "texture", "background", "background_texture", "speed"):
        names[name] = choose(options[name], rng)
    return Scene(**names, **_sample_motion(rng, names), **_sample_surface(rng))


def choose(options: Sequence[Choice], rng: np.random.Generator) -> Choice:
    """One of the options, each as probable, as rng.choice draws it.

    rng.choice makes an array of words first, and an interrupt that comes while numpy does so is lost.
    """
    return options[int(rng.integers(len(options)))]


def _list_combinations(options: Mapping[str, Sequence[str]], holdout: bool) -> list[dict[str, str]]:
    """The colours, shapes and motions that go together and leave a speed and a background to choose."""
    triples = product(options["color"], options["shape"], options["motion"])
    return [
        {"color": color, "shape": shape, "motion": motion}
        for color, shape, motion in triples
        if is_holdout(color, shape, motion) == holdout
        and not (motion == "still" and SPEEDS[0] not in options["speed"])
        and not (color == "white" and options["background"] == ("white",))
    ]


def _sample_motion(rng: np.random.Generator, names: Mapping[str, str]) -> dict[str, float]:
    """Size and path."""
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


def _sample_surface(rng: np.random.Generator) -> dict[str, float]:
    """The shape's angle, and its texture's angle, period and phase.

    Nearly the same for every scene, as the background's are quite (render.py): a caption names a texture and says no
    more of it, and what it does not say a model can only guess. So stage 2 can restore what a draft has lost of it.
    """
    return {
        "angle": rng.uniform(-0.03, 0.03),
        "texture_period": rng.uniform(0.195, 0.205),
        "texture_angle": rng.uniform(-0.03, 0.03),
        "texture_phase": rng.uniform(0.23, 0.27),
        "texture_shade": rng.uniform(0.56, 0.6),
    }


def locate_shape(scene: Scene, frame: int) -> tuple[float, float]:
    """Where the shape's centre is in a frame (0..16), x and y in frame heights from the middle of the frame."""
    t = frame / (FRAMES - 1)
    lift = scene.hop * abs(np.sin(np.pi * (scene.hop_phase + scene.hops * t)))
    return scene.x + scene.dx * t, scene.y + scene.dy * t - lift
