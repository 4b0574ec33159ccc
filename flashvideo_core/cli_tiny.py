"""The commands around the embedded model: `train tiny` and `evaluate`."""

import argparse
import json
from pathlib import Path

from .cli_parts import find_parts
from .parts import PARTS, pick_device
from .progress import Reporter
from .training.distributed import join
from .training.evaluate import evaluate, report
from .training.train import train_tiny
from .video import check_writable


def train(args: argparse.Namespace, reporter: Reporter) -> None:
    """Makes in the folder what is not there yet; Ctrl-C keeps the last saved state of the part at work."""
    folder = Path(args.folder)
    check_writable(folder)
    try:
        with join(str(pick_device(args.device))) as world:
            train_tiny(folder, args.seed, lambda part, step, steps, loss: reporter.progress(part, step, steps), world)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"the same command goes on from the last state in {folder}") from None
    if not world.first:
        return
    made = [str(folder / f"{part}.safetensors") for part in PARTS if (folder / f"{part}.safetensors").exists()]
    reporter.finish({"folder": str(folder), "files": made, "loss": str(folder / "loss.png")}, made)


def evaluate_parts(args: argparse.Namespace, reporter: Reporter) -> None:
    """The tables, and on the last line the same as JSON."""
    parts = find_parts(args, PARTS, None, reporter.note)
    pipe = parts.load(reporter.progress)
    how = {"prompts": args.prompts, "clips": args.clips, "ablation": args.ablation}
    result = evaluate(pipe, **how, callback=reporter.progress)
    reporter.finish(result, [report(result), json.dumps(result)])
