"""The commands around the embedded model: `train tiny`, `train ablation` and `evaluate`."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from ..components import PARTS, TINY, load_pipeline, pick_device, read_component_configs
from ..tiny.ablation import Budget, train_ablation
from ..tiny.evaluate import check_counts, evaluate, evaluate_ablation
from ..tiny.report import ablation_report, report
from ..tiny.train import train_tiny
from ..training.distributed import join
from ..weights.atomic import check_writable
from .components import find_parts, resumable
from .progress import Reporter


def train(args: argparse.Namespace, reporter: Reporter) -> None:
    """Makes in the folder what is not there yet; Ctrl-C keeps the last saved state of the part at work."""
    folder = Path(args.folder)
    check_writable(folder)
    with resumable(folder), join(str(pick_device(args.device))) as world:
        train_tiny(folder, args.seed, progress_of(reporter), world)
    if not world.first:
        return
    made = [str(folder / f"{part}.safetensors") for part in PARTS if (folder / f"{part}.safetensors").exists()]
    reporter.finish({"folder": str(folder), "files": made, "loss": str(folder / "loss.png")}, made)


def progress_of(reporter: Reporter) -> Callable[[str, int, int, float], None]:
    return lambda part, step, steps, loss: reporter.progress(part, step, steps)


def ablation(args: argparse.Namespace, reporter: Reporter) -> None:
    """Trains the three that are not there yet, and measures them on the same drafts of stage 1."""
    folder, device = Path(args.folder), pick_device(args.device)
    place = Path(args.parts or TINY)
    files = {name: place / f"{name}.safetensors" for name in ("stage1", "vae", "text")}
    start = place / "stage2.safetensors" if args.from_stage2 else None
    read_component_configs(files if start is None else files | {"stage2": start})
    check_counts(drafts=args.drafts)
    budget = Budget(args.steps, args.patches, args.clips, args.batch, args.seed)
    check_writable(folder)
    with resumable(folder), join(str(device)) as world:
        made = train_ablation(folder, files["vae"], files["text"], start, budget, progress_of(reporter), world)
    if not world.first:
        return
    pipe = load_pipeline(**files, device=device)
    found = evaluate_ablation(pipe, folder, clips=args.drafts, callback=reporter.progress)
    result = {"folder": str(folder), "files": [str(path) for path in made], "loss": str(folder / "loss.png")}
    reporter.finish(result | found, [ablation_report(found)])


def evaluate_parts(args: argparse.Namespace, reporter: Reporter) -> None:
    """The tables, and on the last line the same as JSON."""
    parts = find_parts(args, PARTS, None, reporter.note)
    pipe = parts.load(reporter.progress)
    how = {"prompts": args.prompts, "clips": args.clips, "ablation": args.ablation}
    result = evaluate(pipe, **how, callback=reporter.progress)
    reporter.finish(result, [report(result), json.dumps(result)])
