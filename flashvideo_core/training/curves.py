"""Loss curves as a picture. matplotlib is imported here, and only when something is drawn."""

from collections.abc import Mapping
from pathlib import Path

import torch

from ..errors import InputError
from ..weights.atomic import atomic_write
from .loop import read_log


def check_plotting() -> None:
    """Training takes hours: what its end needs is looked for at its start. Raises ValueError."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise InputError("train draws its loss curves with matplotlib: pip install matplotlib") from None


def plot(path: Path, logs: Mapping[str, Path]) -> Path:
    """Writes a PNG with a panel for each loss.csv, by title: each step's loss and a running mean."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(logs), 3), layout="constrained")
    panels = figure.subplots(1, len(logs), squeeze=False)[0]
    for axes, (title, log) in zip(panels, logs.items(), strict=True):
        steps, losses = zip(*read_log(log), strict=True)
        window = max(1, len(losses) // 50)
        mean = torch.tensor(losses).unfold(0, window, 1).mean(-1)
        axes.plot(steps, losses, linewidth=0.3, alpha=0.5)
        axes.plot(steps[window - 1 :], mean, linewidth=1.5)
        axes.set(title=title, xlabel="step", yscale="log")
    with atomic_write(path) as partial:
        figure.savefig(partial, dpi=110, format="png")
    return path
