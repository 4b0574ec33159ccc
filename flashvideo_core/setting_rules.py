"""The rules that numbers of a run keep, whoever gave them. Each raises InputError that names the value and the rule."""

import math
from collections.abc import Mapping
from types import UnionType
from typing import get_args

from .errors import InputError
from .sizes import MULTIPLE, floor_size

SEEDS = 2**64  # as many as torch's generators have
MAX_SHOWN = 60  # characters of a value in a message
WINDOWS = ("off", "time", "space", "time+space")  # which axes of the latent stage 2 sees in windows
AXES = ("time_", "space_")  # how the names of their numbers begin
_WORDS = {int: "a whole number", float: "a number", str: "a text"}


def check_size(size: tuple[int, int]) -> None:
    floored = floor_size(size)
    for name, side, whole in zip(("height", "width"), size, floored, strict=True):
        if side != whole:
            raise InputError(f"{name} is {side}; it must be a multiple of {MULTIPLE}")


def check_type(name: str, value: object, annotation: type | UnionType) -> None:
    """A whole number is a float, too; true and false are no numbers."""
    types = get_args(annotation) or (annotation,)
    if isinstance(value, bool) or not isinstance(value, types + (int,) * (float in types)):
        text = ascii(value)
        text = text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."
        raise InputError(f"{name} is {text}; it must be {_WORDS[types[0]]}")


def check_seed(seed: int) -> None:
    if not 0 <= seed < SEEDS:
        raise InputError(f"seed is {seed}; it must be 0 to {SEEDS - 1}")


def check_cfg(cfg: float) -> None:
    if not math.isfinite(cfg):
        raise InputError(f"cfg is {cfg}; it must be a finite number")


def check_cache(cache: float) -> None:
    if not 0 <= cache < math.inf:
        raise InputError(f"cache is {cache}; it must be at least 0 (off) and finite")


def check_windows(windows: str, numbers: Mapping[str, tuple[int, int]]) -> None:
    """Raises InputError for latent windows that cannot be, and for numbers of such where there are none.

    numbers: value and default of each field of RefineSettings that begins with one of AXES.
    """
    if windows not in WINDOWS:
        raise InputError(f"windows is {windows!r}; choose one of {', '.join(WINDOWS)}")
    for name, (value, default) in numbers.items():
        axis = name.split("_")[0]
        if axis not in windows and value != default:
            raise InputError(f"{name} is {value}, but windows is {windows!r}: there are none in {axis}")
        if axis == "space" and value % MULTIPLE:
            raise InputError(f"{name} is {value}; it must be a multiple of {MULTIPLE} pixels")
    value = {name: value for name, (value, _) in numbers.items()}
    shorter = min(value["space_window_height"], value["space_window_width"])
    for name, window in (("time_overlap", value["time_window"]), ("space_overlap", shorter)):
        if not 0 <= value[name] < window:
            raise InputError(f"{name} is {value[name]}; it must be 0 or more, and less than the window ({window})")
