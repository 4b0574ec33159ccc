"""The numbers of a training run on own clips, complete and checked before anything is read or built."""

import dataclasses
import math
from dataclasses import asdict, dataclass

from ..config import TransformerConfig
from ..errors import InputError
from ..sizes import check_frame_count, floor_size
from .curriculum import CURRICULA
from .loop import LoopConfig
from .lora import TARGETS
from .randomness import MICRO_STRIDE, SEED_STRIDE

MODES = ("lora", "full")
LEARNING_RATE = {"lora": 1e-4, "full": 4e-5}  # full: paper, stage 1; lora: ours, since its matrices start at zero
CLIP = 0.1  # of the gradients' norm: paper


@dataclass(frozen=True)
class TrainingOptions:
    """Sizes are (height, width) in pixels. Defaults as in arXiv 2502.05179 where no other reason is given."""

    stage: int
    size: tuple[int, int]
    draft_size: tuple[int, int]  # stage 2: what a clip is reduced to before it is degraded
    patch: tuple[int, int]  # stage 2: half the size, as the paper's 540x960 of 1080x1920
    frames: int = 49
    fps: float = 8
    mode: str = "lora"
    rank: int = 128  # of the released LoRA
    alpha: float = 128.0  # as large as the rank: scale 1 (the released LoRA has 1, scale 1/128)
    steps: int = 2000
    lr: float = 1e-4
    batch: int = 1
    accumulate: int = 1
    seed: int = 0
    curriculum: str = "full"
    variants: int = 4  # stage 2: degraded drafts of each clip
    text_drop: float = 0.1  # paper
    checkpointing: bool = False
    save_every: int = 200
    keep: int = 2
    sample_every: int = 200
    layers: str = "released"  # that a LoRA is beside: lora.TARGETS


WITHOUT_EFFECT = ("checkpointing", "save_every", "keep", "sample_every")  # on the weights: may change between resumes


def resolve_options(config: TransformerConfig, **given: object) -> TrainingOptions:
    """Options for these weights; None takes the default, which follows the weights' size, rate and stage.

    `given` are fields of TrainingOptions. Raises InputError that names the value and the rule.
    """
    given = {name: value for name, value in given.items() if value is not None}
    size = floor_size(given.pop("size", config.defaults.size))
    mode = given.get("mode", "lora")
    if mode not in MODES:
        raise InputError(f"mode is {mode!r}; choose one of {', '.join(MODES)}")
    defaults = {
        "frames": config.defaults.frames,
        "fps": config.defaults.fps,
        "lr": LEARNING_RATE[mode],
        "curriculum": "paper" if config.stage == 2 else "full",
        "alpha": float(given.get("rank", TrainingOptions.rank)),
        "draft_size": _divide_size(size, 4),
        "patch": _divide_size(size, 2),
        "variants": 0 if config.stage == 1 else TrainingOptions.variants,
    }
    options = TrainingOptions(config.stage, size, **(defaults | given))
    options = dataclasses.replace(
        options, patch=floor_size(options.patch), draft_size=floor_size(options.draft_size), fps=float(options.fps)
    )
    check_options(options)
    return options


def _divide_size(size: tuple[int, int], divisor: int) -> tuple[int, int]:
    """A share of (height, width), floored to multiples of 16."""
    height, width = (max(16, side // divisor // 16 * 16) for side in size)
    return height, width


def check_options(options: TrainingOptions) -> None:
    """Raises InputError for a number out of its range."""
    check_frame_count(options.frames)
    least = {"steps": 1, "batch": 1, "accumulate": 1, "save_every": 1, "keep": 1, "sample_every": 0, "rank": 1}
    for name, low in (least | ({"variants": 1} if options.stage == 2 else {})).items():
        if getattr(options, name) < low:
            raise InputError(f"{name} is {getattr(options, name)}; it must be at least {low}")
    for name in ("lr", "alpha", "fps"):
        value = getattr(options, name)
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{name} is {value:g}; it must be a positive number")
    if options.steps >= SEED_STRIDE or options.accumulate > MICRO_STRIDE:
        raise InputError(f"steps must be below {SEED_STRIDE} and accumulate at most {MICRO_STRIDE}")
    if not 0 <= options.text_drop <= 1:
        raise InputError(f"text_drop is {options.text_drop}; it must be 0 to 1")
    if options.layers not in TARGETS:
        raise InputError(f"layers is {options.layers!r}; choose one of {', '.join(TARGETS)}")
    if options.curriculum not in CURRICULA:
        raise InputError(f"curriculum is {options.curriculum!r}; choose one of {', '.join(CURRICULA)}")
    for name in ("patch", "draft_size"):
        value = getattr(options, name)
        if value[0] > options.size[0] or value[1] > options.size[1]:
            raise InputError(
                f"{name} {value[0]}x{value[1]} is larger than the size {options.size[0]}x{options.size[1]}"
            )


def list_kept(options: TrainingOptions) -> dict[str, object]:
    """What the weights of a run depend on, by name; a later option is left out where it changes nothing."""
    kept = {name: value for name, value in asdict(options).items() if name not in WITHOUT_EFFECT}
    return {name: value for name, value in kept.items() if (name, value) != ("layers", "released")}


def make_loop_config(options: TrainingOptions, autocast: bool) -> LoopConfig:
    """The paper's AdamW (LoopConfig's defaults) and clipping, with a warm-up of at most a tenth of the steps."""
    return LoopConfig(
        steps=options.steps,
        lr=options.lr,
        seed=options.seed,
        warmup=min(100, -(-options.steps // 10)),
        clip=CLIP,
        accumulate=options.accumulate,
        autocast=autocast,
        save_every=options.save_every,
        keep=options.keep,
    )
