"""The commands `train stage1` and `train stage2`: training on own clips, or with --plan what it takes."""

import argparse
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

import torch

from ..checkpoint import open_weights
from ..config import STAGE1, STAGE2
from ..errors import InputError
from ..training.device import choose_training_attention, is_bf16_fast
from ..training.distributed import World, init_distributed
from ..training.finetune import RunPaths, finetune, load_trainable
from ..training.options import TrainingOptions, resolve_options
from ..training.plan import format_plan, measure_step
from ..training.prepare import WeightFiles
from ..types import Notify
from ..weights.atomic import check_writable
from .components import DTYPES, Components, find_components, resumable
from .options import ComponentOptions, parse_options
from .progress import Reporter

GivenValues = dict[str, int | float | str | bool | tuple[int, int] | None]


@dataclass(frozen=True)
class TrainStageOptions:
    """What the command line names. given: values by the fields of TrainingOptions, None where not named."""

    model: str  # stage1 or stage2
    data: str | None
    folder: str | None
    cache: str | None
    components: ComponentOptions
    given: GivenValues

    def require_path(self, name: str) -> Path:
        """The data or the folder. Raises InputError where it is not named."""
        value = getattr(self, name)
        if value is None:
            raise InputError(f"--{name} is missing: training takes clips from --data and writes into --folder")
        return Path(value)


def run(args: argparse.Namespace, reporter: Reporter) -> None:
    given = {field.name: getattr(args, field.name, None) for field in fields(TrainingOptions)}
    components = parse_options(ComponentOptions, args)
    options = TrainStageOptions(args.model, args.data, args.folder, args.cache, components, given)
    if components.embeddings:
        raise InputError("--embeddings holds one prompt's; training reads many captions: give --t5 or --text")
    if not args.plan:
        train(options, reporter)
    elif components.named_files():
        plan_training(options, reporter)
    else:
        plan_released(options, reporter)


def train(options: TrainStageOptions, reporter: Reporter) -> None:
    """Trains; Ctrl-C keeps the last saved state."""
    components = find_for_training(options.components, (options.model, "vae", "text"), reporter.note)
    training = resolve_options(open_weights(components.files[options.model]).config, **options.given)
    data, folder = options.require_path("data"), options.require_path("folder")
    check_writable(folder)
    with resumable(folder), init_distributed(str(components.device)) as world:
        paths = RunPaths(data, Path(options.cache) if options.cache else folder / "cache", folder)
        result = train_in_world(world, paths, components, training, reporter)
    if world.first:
        found = {"folder": str(folder), "file": str(result), "loss": str(folder / "loss.png")}
        reporter.finish(found, [str(result)])


def find_for_training(options: ComponentOptions, needed: Iterable[str], notify: Notify) -> Components:
    """As find_components, but in float32 on a card without bf16: gradients leave fp16's range.

    Raises InputError for a LoRA, which would be left out.
    """
    if options.lora is not None:
        raise InputError("--lora is for a run; to train on from it, merge it into the weights: convert --lora")
    components = find_components(options, needed, notify)
    in_fp16 = options.dtype is None and components.dtype is torch.float16
    return replace(components, dtype=torch.float32) if in_fp16 else components


def train_in_world(
    world: World, paths: RunPaths, components: Components, training: TrainingOptions, reporter: Reporter
) -> Path:
    """This process's share of the training. Returns the file of the trained weights."""
    config = components.configs[f"stage{training.stage}"]
    if world.first:
        for line in format_plan(config, training, components.dtype.itemsize, components.device.type):
            reporter.note(line)
    weights = collect_weights(components, torch.device(world.device))
    return finetune(paths, training, weights, reporter.note, reporter.progress, world)


def collect_weights(components: Components, device: torch.device) -> WeightFiles:
    """Weights are known by their hashes alone: a file may be renamed."""
    hashes = {name: {k: v for k, v in known.items() if k != "file"} for name, known in components.hashes.items()}
    return WeightFiles(components.files, hashes, device, components.dtype)


def plan_released(options: TrainStageOptions, reporter: Reporter) -> None:
    """The arithmetic for the released sizes; without weights nothing can be measured."""
    config = {"stage1": STAGE1, "stage2": STAGE2}[options.model]
    training = resolve_options(config, **options.given)
    dtype = DTYPES[options.components.dtype] if options.components.dtype else torch.bfloat16
    lines = format_plan(config, training, dtype.itemsize, "cuda")
    reporter.finish({"plan": lines}, [*lines, "  speed: not measured, since no weights are named"])


def plan_training(options: TrainStageOptions, reporter: Reporter) -> None:
    """The arithmetic for the named weights, and three measured steps."""
    components = find_for_training(options.components, (options.model,), reporter.note)
    config, kind = components.configs[options.model], components.device.type
    training = resolve_options(config, **options.given)
    lines = format_plan(config, training, components.dtype.itemsize, kind)
    model = load_trainable(training, collect_weights(components, components.device))
    network = partial(model, attention=choose_training_attention(kind))
    seconds = measure_step(model, network, training, autocast=is_bf16_fast(kind))
    speed = f"{seconds:.2f} s a step on {kind}, {3600 / seconds:.0f} steps an hour (mean of 3)"
    reporter.finish({"plan": lines, "seconds_per_step": seconds}, [*lines, f"  speed: {speed}"])
