"""A picture of growth.py's result. Needs matplotlib."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from ..packages import require_package
from ..weights.atomic import atomic_write
from .growth import AXES, GrowthResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def check_can_plot() -> None:
    """Raises InputError without matplotlib. Measuring takes minutes: what its end needs is looked for at its start."""
    require_package("matplotlib", "bench --growth draws with", "bench")


def plot_growth(path: Path, result: GrowthResult) -> None:
    """Writes a PNG: time and memory over frames and over resolution, points and fitted lines, both axes logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 8), layout="constrained")
    panels = figure.subplots(2, 2)
    labels = {"seconds": "processor seconds" if result["device"] == "cpu" else "seconds", "peak": "peak memory, MB"}
    for row, (quantity, label) in zip(panels, labels.items(), strict=True):
        for axes, axis in zip(row, AXES, strict=True):
            _plot_panel(axes, result, quantity, axis)
            axes.set_ylabel(label)
    figure.suptitle(f"size {result['size']}, {result['dtype']}, {result['device']}, {result['threads']} threads")
    with atomic_write(path) as partial:
        figure.savefig(partial, dpi=110, format="png")


def _plot_panel(axes: Axes, result: GrowthResult, quantity: str, axis: str) -> None:
    """All curves' points and lines of a quantity along an axis."""
    unit = AXES[axis]
    for curve, exponents in result["exponents"].items():
        points = [p for p in result["points"] if (p["part"], p["axis"]) == (curve, axis)]
        pairs = [(p[unit], p[quantity]) for p in points]
        _plot_power_law(axes, curve, pairs, exponents[axis][quantity], quantity == "peak")
    ticks = sorted({p[unit] for p in result["points"] if p["axis"] == axis})
    axes.set(xscale="log", yscale="log", xlabel=unit)
    axes.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks], rotation=45)
    axes.margins(y=0.3)  # of the legend
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", fontsize="small", ncols=2)


def _plot_power_law(
    axes: Axes, curve: str, pairs: list[tuple[float, float | None]], exponent: float | None, in_megabytes: bool
) -> None:
    """The measured points and, through their middle, the fitted power law; nothing where it is not measured."""
    if exponent is None:
        return
    x, y = zip(*sorted(pairs), strict=True)
    scale = 1e-6 if in_megabytes else 1
    (points,) = axes.plot(x, [scale * value for value in y], "o", label=f"{curve}: exponent {exponent:.2f}")
    level = math.exp(sum(math.log(b) - exponent * math.log(a) for a, b in pairs) / len(pairs))
    axes.plot(x, [scale * level * a**exponent for a in x], linewidth=1, color=points.get_color())
