"""The command `train tiny`: the embedded model from nothing."""

import argparse
from pathlib import Path

from ..components import COMPONENTS
from ..device import pick_device
from ..tiny.train import train_tiny
from ..training.distributed import init_distributed
from ..weights.atomic import check_writable
from .components import resumable
from .progress import Reporter


def run(args: argparse.Namespace, reporter: Reporter) -> None:
    train(Path(args.folder), args.seed, args.device, reporter)


def train(folder: Path, seed: int, device: str | None, reporter: Reporter) -> None:
    """Makes in the folder what is not there yet; Ctrl-C keeps the last saved state of the model at work."""
    check_writable(folder)
    with resumable(folder), init_distributed(str(pick_device(device))) as world:
        train_tiny(folder, seed, reporter.progress, world)
    if not world.first:
        return
    paths = [folder / f"{name}.safetensors" for name in COMPONENTS]
    files = [str(path) for path in paths if path.exists()]
    reporter.finish({"folder": str(folder), "files": files, "loss": str(folder / "loss.png")}, files)
