"""Every number of a run, once: the same object in pipeline, command line, record and nodes.

A settings object that exists is valid: InputError names the value and the rule before anything is sampled, so that a
wrong refinement is not found after a long draft. What the machine's memory made of a run is in plans.py.

A new number of a run is a field here, its default in config.SamplingDefaults (or here, where weights have no say), an
option in cli/options.py and an input in nodes/stages.py.
"""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, TypeVar, get_type_hints

from .config import SamplingDefaults
from .errors import InputError, check_text
from .faithful import MATCHES
from .guidance import find_cfg_schedule
from .latent_windows import LatentWindows
from .schedule import check_noise_step, stage1_schedule, stage2_times
from .setting_rules import AXES, check_cache, check_cfg, check_seed, check_size, check_type, check_windows
from .sizes import check_frame_count, floor_size, latent_size
from .windows import Window

MAX_STAGE2_STEPS = 1000
OPT_IN = "opt_in"  # a mark on fields

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
                check_type(name, value, types[name])
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
        check_size(self.size)
        stage1_schedule(self.steps)
        find_cfg_schedule(self.guidance)
        check_cfg(self.cfg)
        check_seed(self.seed)
        check_text("the negative prompt", self.negative or "")
        if not 0 <= self.cfg_epsilon < 1:
            raise InputError(f"cfg_epsilon is {self.cfg_epsilon}; it must be at least 0 and below 1")
        check_cache(self.cache)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(T, H, W) of the latent."""
        return latent_size(self.frames, self.height, self.width)


@dataclass(frozen=True)
class RefineSettings(Settings):
    """Stage 2. Pixels in multiples of 16; 1 to 1000 steps; shift above 0; ref_step, the noise step, 0 to 999.

    The first guided_evaluations have guidance, 0: all. window_height and window_width: tokens of 16 pixels that
    attention sees (windows.py), 0: all of them; the first dense_evaluations see all in any case. match: what the frames
    take from the draft's (faithful.py). windows: along which axes the network sees the latent in overlapping windows
    (latent_windows.py), a name of setting_rules.py; time_window and time_overlap in latent frames, the space window and
    its overlap in pixels, multiples of 16.
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
    windows: str = opt_in("off")
    time_window: int = opt_in(13)  # 49 frames, which is what stage 2 was trained on, and so is the size in space
    time_overlap: int = opt_in(4)
    space_window_height: int = opt_in(544)
    space_window_width: int = opt_in(960)
    space_overlap: int = opt_in(128)

    def __post_init__(self) -> None:
        check_size(self.size)
        if self.steps > MAX_STAGE2_STEPS:
            raise InputError(f"steps is {self.steps}; stage 2 needs 1 to {MAX_STAGE2_STEPS}")
        stage2_times(self.steps, self.shift)
        check_noise_step(self.ref_step)
        check_cfg(self.cfg)
        check_seed(self.seed)
        check_text("the negative prompt", self.negative or "")
        if self.guided_evaluations < 0:
            raise InputError(f"guided_evaluations is {self.guided_evaluations}; it must be at least 0, which means all")
        window = self.window
        if self.dense_evaluations < 0 or (window is None and self.dense_evaluations):
            rule = "at least 0, and 0 where all evaluations are dense (without a window)"
            raise InputError(f"dense_evaluations is {self.dense_evaluations}; it must be {rule}")
        if self.match not in MATCHES:
            raise InputError(f"match is {self.match!r}; choose one of {', '.join(MATCHES)}")
        numbers = {field.name: (getattr(self, field.name), field.default) for field in fields(self)}
        check_windows(self.windows, {name: number for name, number in numbers.items() if name.startswith(AXES)})

    @property
    def window(self) -> Window | None:
        """What attention sees; None: everything. Raises InputError."""
        sides = self.window_height, self.window_width
        return Window(*sides) if any(sides) else None

    @property
    def latent_windows(self) -> LatentWindows | None:
        """What the network sees at once; None: everything."""
        if self.windows == "off":
            return None
        frames = self.time_window if "time" in self.windows else None
        sides = (self.space_window_height // 8, self.space_window_width // 8)
        rows, columns = sides if "space" in self.windows else (None, None)
        return LatentWindows((frames, rows, columns), (self.time_overlap, *2 * (self.space_overlap // 8,)))


def check_choice(choice: int, drafts: int) -> None:
    """Raises InputError unless choice, counted from 0, is one of so many drafts."""
    if not 0 <= choice < drafts:
        there = "the only draft is 0" if drafts == 1 else f"the drafts are 0 to {drafts - 1}"
        raise InputError(f"choice is {choice}, but {there}")
