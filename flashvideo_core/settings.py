"""Every number of a run, once: the same object in pipeline, command line, record and nodes.

A settings object that exists is valid: InputError names the value and the rule before anything is sampled, so that a
wrong refinement is not found after a long draft. What the machine's memory made of a run is in plans.py.

A new number of a run is a field here, its default in config.SamplingDefaults (or here, where weights have no say), an
option in cli/options.py and an input in nodes/stages.py.
"""

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from types import UnionType
from typing import Any, TypeVar, get_args, get_type_hints

from .config import SamplingDefaults
from .errors import InputError, check_text
from .faithful import MATCHES
from .guidance import find_cfg_schedule
from .schedule import check_noise_step, stage1_schedule, stage2_times
from .sizes import MULTIPLE, check_frame_count, floor_size, latent_size
from .windows import Window

MAX_STAGE2_STEPS = 1000
SEEDS = 2**64  # as many as torch's generators have
MAX_SHOWN = 60  # characters of a value in a message
OPT_IN = "opt_in"  # a mark on fields
_WORDS = {int: "a whole number", float: "a number", str: "a text"}

Value = int | float | str | None
S = TypeVar("S", bound="Settings")


def opt_in(default: int | float | str) -> Any:
    """A field that a run is asked for by name: with its default a record does not hold it, and reads as ever."""
    return field(default=default, metadata={OPT_IN: True})


class Settings:
    """What the settings of both stages have in common: where their values come from and go to."""

    @classmethod
    def from_defaults(
        cls: type[S],
        defaults: SamplingDefaults,
        *,
        size: tuple[int, int] | None = None,
        window: tuple[int, int] | None = None,
        **given: Value,
    ) -> S:
        """`given` by field name; None, or a field not named, takes the weights' default.

        size and window (height, width) stand for both of their sides. The size's are floored to multiples of 16. Raises
        InputError.
        """
        height, width = defaults.size
        stored = {**vars(defaults), "height": height, "width": width}
        values = {field.name: stored[field.name] for field in fields(cls) if field.name in stored}
        values |= {name: value for name, value in given.items() if value is not None}
        values |= {} if size is None else {"height": size[0], "width": size[1]}
        values |= {} if window is None else {"window_height": window[0], "window_width": window[1]}
        values["height"], values["width"] = floor_size((values["height"], values["width"]))
        return cls(**values)

    @classmethod
    def from_json(cls: type[S], values: Mapping[str, Value]) -> S:
        """What `to_json` gave. Raises InputError without a subject, for the caller to put a file's name before it."""
        lacking = [field.name for field in fields(cls) if field.default is MISSING and field.name not in values]
        unknown = values.keys() - {field.name for field in fields(cls)}
        if lacking:
            raise InputError(f"is incomplete: it lacks settings of the clip ({', '.join(lacking)})")
        if unknown:
            raise InputError(f"has settings that are unknown here: {', '.join(sorted(unknown))}")
        types = get_type_hints(cls)
        try:
            for name, value in values.items():
                _check_type(name, value, types[name])
            return cls(**values)
        except InputError as error:
            raise InputError(f"has settings that cannot be used: {error}") from None

    def to_json(self) -> dict[str, Value]:
        """By field name, without what nobody asked for (`opt_in`)."""
        default = {field.name: field.default for field in fields(self) if OPT_IN in field.metadata}
        return {name: value for name, value in asdict(self).items() if name not in default or value != default[name]}

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.height, self.width


@dataclass(frozen=True)
class DraftSettings(Settings):
    """Stage 1. Pixels in multiples of 16; 4n+1 frames; 2 to 999 steps; guidance by a name of guidance.py."""

    frames: int
    height: int
    width: int
    steps: int
    cfg: float
    guidance: str
    seed: int = 0  # below 2**64
    negative: str | None = None  # prompt in place of the zeros of the unconditional branch
    cfg_epsilon: float = opt_in(0.0)  # scales within it of 1 are taken as 1, which needs no unconditional branch
    cache: float = opt_in(0.0)  # relative change up to which an evaluation is saved (step_cache.py), 0: none is

    def __post_init__(self) -> None:
        check_frame_count(self.frames)
        _check_size(self.size)
        stage1_schedule(self.steps)
        find_cfg_schedule(self.guidance)
        _check_cfg(self.cfg)
        _check_seed(self.seed)
        check_text("the negative prompt", self.negative or "")
        if not 0 <= self.cfg_epsilon < 1:
            raise InputError(f"cfg_epsilon is {self.cfg_epsilon}; it must be at least 0 and below 1")
        if not 0 <= self.cache < math.inf:
            raise InputError(f"cache is {self.cache}; it must be at least 0 (off) and finite")

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(T, H, W) of the latent."""
        return latent_size(self.frames, self.height, self.width)


@dataclass(frozen=True)
class RefineSettings(Settings):
    """Stage 2. Pixels in multiples of 16; 1 to 1000 steps; shift above 0; ref_step, the noise step, 0 to 999.

    The first guided_evaluations have guidance, 0: all. window_height and window_width: tokens of 16 pixels that
    attention sees (windows.py), 0: all of them; the first dense_evaluations see all in any case.
    match: what the frames take from the draft's (faithful.py).
    """

    height: int
    width: int
    steps: int
    cfg: float
    shift: float
    ref_step: int
    seed: int = 0
    negative: str | None = None
    guided_evaluations: int = opt_in(0)
    window_height: int = opt_in(0)
    window_width: int = opt_in(0)
    dense_evaluations: int = opt_in(0)
    match: str = opt_in("none")

    def __post_init__(self) -> None:
        _check_size(self.size)
        if self.steps > MAX_STAGE2_STEPS:
            raise InputError(f"steps is {self.steps}; stage 2 needs 1 to {MAX_STAGE2_STEPS}")
        stage2_times(self.steps, self.shift)
        check_noise_step(self.ref_step)
        _check_cfg(self.cfg)
        _check_seed(self.seed)
        check_text("the negative prompt", self.negative or "")
        if self.guided_evaluations < 0:
            raise InputError(f"guided_evaluations is {self.guided_evaluations}; it must be at least 0, which means all")
        window = self.window
        if self.dense_evaluations < 0 or (window is None and self.dense_evaluations):
            rule = "at least 0, and 0 where all evaluations are dense (without a window)"
            raise InputError(f"dense_evaluations is {self.dense_evaluations}; it must be {rule}")
        if self.match not in MATCHES:
            raise InputError(f"match is {self.match!r}; choose one of {', '.join(MATCHES)}")

    @property
    def window(self) -> Window | None:
        """What attention sees; None: everything. Raises InputError."""
        sides = self.window_height, self.window_width
        return Window(*sides) if any(sides) else None


def _check_size(size: tuple[int, int]) -> None:
    floored = floor_size(size)
    for name, side, whole in zip(("height", "width"), size, floored, strict=True):
        if side != whole:
            raise InputError(f"{name} is {side}; it must be a multiple of {MULTIPLE}")


def _check_type(name: str, value: object, annotation: type | UnionType) -> None:
    """A whole number is a float, too; true and false are no numbers."""
    types = get_args(annotation) or (annotation,)
    if isinstance(value, bool) or not isinstance(value, types + (int,) * (float in types)):
        text = ascii(value)
        text = text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."
        raise InputError(f"{name} is {text}; it must be {_WORDS[types[0]]}")


def _check_seed(seed: int) -> None:
    if not 0 <= seed < SEEDS:
        raise InputError(f"seed is {seed}; it must be 0 to {SEEDS - 1}")


def _check_cfg(cfg: float) -> None:
    if not math.isfinite(cfg):
        raise InputError(f"cfg is {cfg}; it must be a finite number")


def check_choice(choice: int, drafts: int) -> None:
    """Raises InputError unless choice, counted from 0, is one of so many drafts."""
    if not 0 <= choice < drafts:
        there = "the only draft is 0" if drafts == 1 else f"the drafts are 0 to {drafts - 1}"
        raise InputError(f"choice is {choice}, but {there}")
