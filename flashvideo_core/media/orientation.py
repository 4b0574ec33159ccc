"""How a decoded frame is to be shown: turned and mirrored (display matrix, EXIF), and with square pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F
from av import VideoFrame

SQUARE = Fraction(1)
SAME_ASPECT = 0.01  # pixels this close to square are: a container's rounding
MAX_ASPECT = 4  # beyond it (or its inverse) a tag is not believed; anamorphic film has 2


@dataclass(frozen=True)
class Orientation:
    """Mirrored left to right (or not), then turned by so many quarters counterclockwise; a tag of another angle
    (odd_degrees, counterclockwise) is not applied."""

    quarters: int = 0
    mirrored: bool = False
    odd_degrees: float = 0.0

    def turn(self, picture: torch.Tensor) -> torch.Tensor:
        """[H, W, 3] as it is to be shown."""
        return torch.rot90(picture.flip(1) if self.mirrored else picture, self.quarters)

    def describe(self) -> str:
        """What a user should know; "" for upright."""
        if self.odd_degrees:
            return f"tagged as rotated by {self.odd_degrees:g} degrees counterclockwise, which is not applied"
        if self.mirrored and self.quarters in (0, 2):
            return f"mirrored {('left to right', 'top to bottom')[self.quarters // 2]}, as tagged"
        rotated = f"rotated by {90 * self.quarters} degrees counterclockwise, as tagged"
        return ("mirrored left to right and " if self.mirrored else "") + rotated if self.quarters else ""


UPRIGHT = Orientation()
EXIF_ORIENTATIONS = {  # by the value of the tag
    1: UPRIGHT,
    2: Orientation(0, mirrored=True),
    3: Orientation(2),
    4: Orientation(2, mirrored=True),
    5: Orientation(1, mirrored=True),
    6: Orientation(3),
    7: Orientation(3, mirrored=True),
    8: Orientation(1),
}


def frame_orientation(frame: VideoFrame) -> Orientation:
    """As the display matrix of a decoded frame says (ISO 14496-12, 8.3.2: x' = ax + cy, y' = bx + dy, y downwards)."""
    try:
        matrix = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV cannot list it: another side datum of this frame is newer than its names
        return _read_matrix(*_rotation_matrix(frame.rotation))
    return UPRIGHT if matrix is None else _read_matrix(*np.frombuffer(matrix, np.int32)[[0, 1, 3, 4]].tolist())


def _rotation_matrix(degrees: int) -> tuple[float, float, float, float]:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return cos, -sin, sin, cos


def _read_matrix(a: float, b: float, c: float, d: float) -> Orientation:
    mirrored = a * d < b * c
    a, b = (-a, -b) if mirrored else (a, b)  # where the x axis of the (mirrored back) picture goes
    if min(abs(a), abs(b)) > 0.01 * max(abs(a), abs(b)):
        return Orientation(odd_degrees=round(math.degrees(math.atan2(-b, a)) % 360, 1))
    return Orientation((0 if a > 0 else 2) if abs(a) >= abs(b) else (1 if b < 0 else 3), mirrored)


def square_size(height: int, width: int, aspect: Fraction) -> tuple[int, int]:
    """(height, width) with square pixels for pixels of this aspect (width / height): one side grows, none shrinks."""
    if not 1 / MAX_ASPECT <= aspect <= MAX_ASPECT or abs(aspect - 1) < SAME_ASPECT:
        return height, width
    return (height, round(width * aspect)) if aspect > 1 else (round(height / aspect), width)


def scale_to_square(picture: torch.Tensor, aspect: Fraction) -> torch.Tensor:
    """[H, W, 3] in 0..1, as decoded, to `square_size`, bicubic."""
    size = square_size(*picture.shape[:2], aspect)
    if size == tuple(picture.shape[:2]):
        return picture
    return F.interpolate(picture.movedim(-1, 0)[None], size, mode="bicubic")[0].movedim(0, -1).clamp(0, 1)


def describe_aspect(height: int, width: int, aspect: Fraction) -> str:
    """What a user should know about a frame of this size; "" for square pixels."""
    size = square_size(height, width, aspect)
    if size != (height, width):
        return f"pixels of {aspect.numerator}:{aspect.denominator}, scaled from {width}x{height} to {size[1]}x{size[0]}"
    if abs(aspect - 1) < SAME_ASPECT:
        return ""
    return f"tagged with pixels of {aspect.numerator}:{aspect.denominator}, which is not believed and not applied"
