"""The command `evaluate`: how well a tiny model follows prompts, and what stage 2 adds."""

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path

from ..components import COMPONENTS, Pipeline
from ..errors import InputError
from ..tiny.evaluate import evaluate, list_tasks
from ..tiny.evaluate_windows import evaluate_windows
from ..tiny.extent import FULL, QUICK, Extent
from ..tiny.kept import run_tasks
from ..tiny.report import report, report_windows
from ..windows import Window
from .components import find_components, resumable
from .options import ComponentOptions, parse_options
from .progress import Reporter
from .shard import Shard


@dataclass(frozen=True)
class EvaluateOptions:
    """output: where measurements are kept; ablation: the folder of `train ablation`."""

    extent: Extent
    output: Path | None
    ablation: str | None
    shard: Shard


def run(args: argparse.Namespace, reporter: Reporter) -> None:
    options = EvaluateOptions(read_extent(args), args.output and Path(args.output), args.ablation, args.shard)
    if options.shard.count > 1 and options.output is None:
        raise InputError("--shard needs --output, where all the processes put what they have measured")
    folder = {name: Path(args.parts) / f"{name}.safetensors" for name in COMPONENTS} if args.parts else None
    components = find_components(parse_options(ComponentOptions, args), COMPONENTS, reporter.note, folder)
    pipe = components.load(reporter.progress)
    if args.attention_windows:
        windows = [Window(*sides) for sides in args.attention_windows]
        result = evaluate_windows(pipe, windows, clips=options.extent.clips, callback=reporter.progress)
        reporter.finish(result, [report_windows(result), json.dumps(result)])
    elif options.output is None:
        measure(pipe, options, reporter)
    else:
        with resumable(options.output):
            measure(pipe, options, reporter)


def read_extent(args: argparse.Namespace) -> Extent:
    """The full or the quick one, with the counts that are named. --clips is of drafts and of rendered clips."""
    swept = args.clips if args.swept is None else args.swept
    named = {"prompts": args.prompts, "refined": args.clips, "clips": args.clips, "swept": swept}
    return replace(QUICK if args.quick else FULL, **{name: count for name, count in named.items() if count is not None})


def measure(pipe: Pipeline, options: EvaluateOptions, reporter: Reporter) -> None:
    """The tables, and on the last line the same as JSON; of a shard what it has measured."""
    if options.shard.count == 1:
        where = {"ablation": options.ablation, "folder": options.output}
        result = evaluate(pipe, options.extent, **where, callback=reporter.progress)
        reporter.finish(result, [report(result), json.dumps(result)])
        return
    tasks = list_tasks(pipe, options.extent, options.ablation, options.output)
    mine = {phase: options.shard.take(some) for phase, some in tasks.items()}
    count = len(run_tasks(mine, options.output, reporter.progress))
    line = f"{count} measurements in {options.output}; without --shard the same command tells them all"
    reporter.finish({"folder": str(options.output), "measured": count}, [line])
