"""The command `train ablation`: stage 2 of the embedded model under three degradations, compared."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from ..components import TINY, load_pipeline, read_component_configs
from ..device import pick_device
from ..tiny.ablation import Budget, StartFiles, train_ablation
from ..tiny.evaluate import check_counts, evaluate_ablation
from ..tiny.report import report_ablation
from ..training.distributed import init_distributed
from ..weights.atomic import check_writable
from .components import resumable
from .progress import Reporter

MEASURED = "measured"


@dataclass(frozen=True)
class AblationOptions:
    """weights: the folder of an embedded model's stage1, vae and text (and stage2, to go on from it)."""

    folder: Path
    weights: Path
    from_stage2: bool
    budget: Budget
    drafts: int  # that are refined and measured
    device: str | None


def run(args: argparse.Namespace, reporter: Reporter) -> None:
    budget = Budget(args.steps, args.patches, args.clips, args.batch, args.seed)
    weights = Path(args.parts or TINY)
    options = AblationOptions(Path(args.folder), weights, args.from_stage2, budget, args.drafts, args.device)
    train(options, reporter)


def train(options: AblationOptions, reporter: Reporter) -> None:
    """Trains the three that are not there yet, and measures them on the same drafts of stage 1."""
    folder, device = options.folder, pick_device(options.device)
    files = {name: options.weights / f"{name}.safetensors" for name in ("stage1", "vae", "text")}
    start = options.weights / "stage2.safetensors" if options.from_stage2 else None
    read_component_configs(files if start is None else files | {"stage2": start})
    check_counts(drafts=options.drafts)
    check_writable(folder)
    with resumable(folder), init_distributed(str(device)) as world:
        made = train_ablation(
            folder, StartFiles(files["vae"], files["text"], start), options.budget, reporter.progress, world
        )
    if not world.first:
        return
    pipe = load_pipeline(**files, device=device)
    with resumable(folder):
        found = evaluate_ablation(
            pipe, folder, clips=options.drafts, folder=folder / MEASURED, callback=reporter.progress
        )
    result = {"folder": str(folder), "files": [str(path) for path in made], "loss": str(folder / "loss.png")}
    reporter.finish(result | found, [report_ablation(found)])
