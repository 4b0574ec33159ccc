"""Sizes of clips and latents: what a run may ask for, and what becomes of it."""

from .errors import InputError

MULTIPLE = 16  # released: sizes are floored to multiples of 16
MAX_SIDE = 8192
MAX_FRAMES = 1025  # of a draft
MAX_STRETCH = 1.05  # of the proportions, before it is said; released: 480x256 becomes 1920x1072, a stretch of 1.047


def floor_size(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) floored to multiples of 16. Raises InputError for sizes below 16 or above 8192."""
    for name, side in zip(("height", "width"), size, strict=True):
        if not MULTIPLE <= side <= MAX_SIDE:
            raise InputError(f"{name} is {side}; it must be {MULTIPLE} to {MAX_SIDE} pixels")
    return size[0] // MULTIPLE * MULTIPLE, size[1] // MULTIPLE * MULTIPLE


def describe_stretch(source: tuple[int, int], size: tuple[int, int]) -> str | None:
    """In one clause: a clip of another size (height, width) loses its proportions, and a size of as many pixels that
    keeps them. None where they stay."""
    ratio = size[1] * source[0] / (size[0] * source[1])
    if 1 / MAX_STRETCH <= ratio <= MAX_STRETCH:
        return None
    scale = (size[0] * size[1] / (source[0] * source[1])) ** 0.5
    height, width = (max(round(scale * side / MULTIPLE), 1) * MULTIPLE for side in source)
    stretched = f"{source[1]}x{source[0]} is stretched to {size[1]}x{size[0]}"
    return f"{stretched}; width {width} and height {height} would keep its proportions"


def describe_floor(wanted: tuple[int, int], size: tuple[int, int]) -> str | None:
    """In one clause: a wanted size (height, width) had to be floored. None where it is kept."""
    if tuple(wanted) == tuple(size):
        return None
    return f"{wanted[1]}x{wanted[0]} is floored to {size[1]}x{size[0]} (multiples of {MULTIPLE})"


def check_frame_count(frames: int, most: int | None = MAX_FRAMES) -> None:
    """Raises InputError unless frames is 4n+1, from 1 to `most` (None: any)."""
    if not 1 <= frames <= (most or frames) or frames % 4 != 1:
        last = f", {most}" if most else ""
        raise InputError(f"frames is {frames}; it must be 4n+1 (1, 5, 9, ..., 49, ...{last})")


def floor_frame_count(frames: int) -> int:
    """The longest 4n+1 that is not above `frames`; a clip is trimmed at its end. Raises InputError for no frames."""
    if frames < 1:
        raise InputError("the clip has no frames")
    return (frames - 1) // 4 * 4 + 1


def clip_size(t: int, h: int, w: int) -> tuple[int, int, int]:
    """(frames, height, width) of the clip that a latent of t x h x w decodes to."""
    return 4 * t - 3, 8 * h, 8 * w


def frame_range(start: int, stop: int) -> tuple[int, int]:
    """The frames of a clip that its latent frames [start, stop) stand for: the first for one, the others for four."""
    return max(0, 4 * start - 3), 4 * stop - 3


def latent_size(frames: int, height: int, width: int) -> tuple[int, int, int]:
    """(T, H, W) of the latent of a clip, in pixels; what no whole latent frame or pixel holds is left out."""
    return (frames + 3) // 4, height // 8, width // 8
