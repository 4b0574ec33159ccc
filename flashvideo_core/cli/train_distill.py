"""The command `train distill`: a stage 2 of few evaluations without guidance, learnt from the one that is given."""

import argparse
from dataclasses import dataclass, fields
from pathlib import Path

import torch

from ..errors import InputError
from ..training.distill import DraftSource, distill
from ..training.distill_options import DistillOptions, resolve_distill_options
from ..training.distributed import World, init_distributed
from ..training.drafts import DraftPrompt
from ..training.options import TrainingOptions
from ..training.plan import format_plan
from ..weights.atomic import check_writable
from .components import Components, resumable
from .options import ComponentOptions, PromptOptions, parse_options
from .progress import Reporter
from .prompts import read_prompts
from .train_stage import GivenValues, collect_weights, find_for_training

OF_DISTILLATION = ("cfg", "teacher_steps", "evaluations", "halvings", "edges")


@dataclass(frozen=True)
class TrainDistillOptions:
    """What the command line names. given: values by the arguments of resolve_distill_options, None where not named."""

    prompts: str | None
    data: str | None
    folder: Path
    cache: Path
    components: ComponentOptions
    given: GivenValues

    def read_source(self) -> DraftSource:
        """The prompts of the drafts, or where the clips are. Raises InputError unless one of them is named."""
        if (self.prompts is None) == (self.data is None):
            raise InputError(
                "give either --prompts, from which stage 1 makes drafts, or --data, clips to take for them"
            )
        if self.data is not None:
            return Path(self.data)
        return [DraftPrompt(p.text, p.seed) for p in read_prompts(PromptOptions(None, self.prompts, 1), None)]


def run(args: argparse.Namespace, reporter: Reporter) -> None:
    names = [*(field.name for field in fields(TrainingOptions)), *OF_DISTILLATION]
    given = {name: getattr(args, name) for name in names if hasattr(args, name)}
    components, folder = parse_options(ComponentOptions, args), Path(args.folder)
    if components.embeddings:
        raise InputError("--embeddings holds one prompt's; training reads many captions: give --t5 or --text")
    cache = Path(args.cache) if args.cache else folder / "cache"
    train(TrainDistillOptions(args.prompts, args.data, folder, cache, components, given), reporter)


def train(options: TrainDistillOptions, reporter: Reporter) -> None:
    """Trains; Ctrl-C keeps the last saved state."""
    source = options.read_source()
    needed = ("stage2", "vae", "text") if isinstance(source, Path) else ("stage1", "stage2", "vae", "text")
    components = find_for_training(options.components, needed, reporter.note)
    configs = components.configs
    training = resolve_distill_options(configs["stage2"], configs.get("stage1"), **options.given)
    check_writable(options.folder)
    with resumable(options.folder), init_distributed(str(components.device)) as world:
        result = train_in_world(world, source, options, components, training, reporter)
    if world.first:
        found = {"folder": str(options.folder), "file": str(result), "loss": str(options.folder / "loss.png")}
        reporter.finish(found, [str(result)])


def train_in_world(
    world: World,
    source: DraftSource,
    options: TrainDistillOptions,
    components: Components,
    training: DistillOptions,
    reporter: Reporter,
) -> Path:
    """This process's share of the training. Returns the file of the student."""
    if world.first:
        config, itemsize = components.configs["stage2"], components.dtype.itemsize
        for line in format_plan(config, training.training, itemsize, components.device.type):
            reporter.note(line)
    weights = collect_weights(components, torch.device(world.device))
    progress = reporter.progress
    return distill(source, options.cache, options.folder, training, weights, reporter.note, progress, world)
