"""loss.csv, a line (step, loss, learning rate) for every step of a run, and loss.png, its picture.

matplotlib is imported here, and only when something is drawn.
"""

import csv
from collections.abc import Mapping
from pathlib import Path

import torch

from ..packages import require_package
from ..weights.atomic import atomic_write, name_full_disk

HEADER = ["step", "loss", "lr"]


def truncate_log(path: Path, steps: int) -> None:
    """Keeps the lines of the first `steps` steps: a killed run may have written more after its last state."""
    lines = [HEADER]
    if path.exists():
        with path.open(newline="") as file:
            lines = list(csv.reader(file))[: steps + 1]
    with atomic_write(path) as partial, partial.open("w", newline="") as file:
        csv.writer(file).writerows(lines)


def append_log(path: Path, step: int, loss: float, lr: float) -> None:
    """Adds the line of one step."""
    with name_full_disk(path), path.open("a", newline="") as file:
        csv.writer(file).writerow((step, loss, lr))


def read_log(path: Path) -> list[tuple[int, float]]:
    """(step, loss) of every line."""
    with path.open() as file:
        return [(int(line["step"]), float(line["loss"])) for line in csv.DictReader(file)]


def check_matplotlib() -> None:
    """Raises InputError without matplotlib. Training takes hours: what its end needs is looked for at its start."""
    require_package("matplotlib", "train draws its loss curves with", "train")


def plot_losses(path: Path, logs: Mapping[str, Path]) -> Path:
    """Writes a PNG with a panel for each loss.csv, by title: each step's loss and a running mean."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(logs), 3), layout="constrained")
    panels = figure.subplots(1, len(logs), squeeze=False)[0]
    for axes, (title, log) in zip(panels, logs.items(), strict=True):
        steps, losses = zip(*read_log(log), strict=True)
        width = max(1, len(losses) // 50)
        mean = torch.tensor(losses).unfold(0, width, 1).mean(-1)
        axes.plot(steps, losses, linewidth=0.3, alpha=0.5)
        axes.plot(steps[width - 1 :], mean, linewidth=1.5)
        axes.set(title=title, xlabel="step", yscale="log")
    with atomic_write(path) as partial:
        figure.savefig(partial, dpi=110, format="png")
    return path
