"""How time and memory of the networks grow with frames and with resolution: power laws, and a picture of them."""

import importlib.util
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ..errors import InputError
from ..weights.atomic import atomic_write
from .compare import facts, planned_peak, worker
from .operations import operations
from .sizes import GIVEN, NETWORKS, Latent, find_size
from .worker import DTYPES

FRAMES = (3, 5, 7, 9)  # latent frames, at the size's own resolution
SIDES = (1, 1.25, 1.5, 2)  # times the size's own height and width, at 3 latent frames
AXES = {"frames": "frames", "resolution": "megapixels"}
FIGURES = ("seconds", "peak", "operations")


def growth(
    size: str,
    device: str = "cpu",
    dtype: str = "float32",
    threads: int | None = None,
    callback: Callable | None = None,
    frames: tuple[int, ...] = FRAMES,
    sides: tuple[float, ...] = SIDES,
) -> dict:
    """Measures every network at every point; `exponents` are those of fitted power laws, by part, axis and figure.

    On a CPU `seconds` are those of the processor over all threads, which other work on the machine disturbs least.
    Raises ValueError for an unknown size.
    """
    points = []
    for part in NETWORKS:
        base = getattr(find_size(part, size), GIVEN[part])
        ways = {"frames": [(t, *base[1:]) for t in frames], "resolution": [(frames[0], *grown(base, s)) for s in sides]}
        latents = list(dict.fromkeys(latent for way in ways.values() for latent in way))
        with worker("ours", (part, size, text(base), "ours", device, dtype), threads) as ask:
            found = {}
            for i, latent in enumerate(latents):
                found[latent] = measured(ask, part, size, latent, dtype, device)
                if callback is not None:
                    callback(f"{part} {size}", i + 1, len(latents), None)
        points += [{"part": part, "axis": axis, **found[latent]} for axis, way in ways.items() for latent in way]
    exponents = {part: {axis: fit(points, part, axis) for axis in AXES} for part in NETWORKS}
    return {"size": size, **facts(device, dtype, threads), "exponents": exponents, "points": points}


def grown(latent: Latent, factor: float) -> tuple[int, int]:
    return tuple(2 * round(side * factor / 2) for side in latent[1:])


def text(latent: Latent) -> str:
    return "x".join(map(str, latent))


def measured(ask: Callable, part: str, size: str, latent: Latent, dtype: str, device: str) -> dict:
    """One point: frames, megapixels of a frame, seconds, bytes (measured and planned) and counted operations."""
    ask(f"at {text(latent)}")
    peak, spent = ask("memory")["peak"], ask("time")
    chosen = replace(find_size(part, size), **{GIVEN[part]: latent})
    return {
        "latent": list(latent),
        "frames": 4 * latent[0] - 3,
        "megapixels": 64 * latent[1] * latent[2] / 1e6,
        "seconds": spent["processor_seconds"] or spent["seconds"],
        "peak": peak,
        "planned_peak": planned_peak(part, chosen, DTYPES[dtype], torch.device(device)),
        "operations": operations(part, chosen),
    }


def fit(points: list[dict], part: str, axis: str) -> dict[str, float | None]:
    """Exponents of the least-squares power laws of a part along an axis; None for what was not measured."""
    chosen = [point for point in points if (point["part"], point["axis"]) == (part, axis)]
    return {name: exponent([(p[AXES[axis]], p[name]) for p in chosen]) for name in FIGURES}


def exponent(pairs: list[tuple[float, float | None]]) -> float | None:
    """b of y = a x^b that is nearest in logarithms."""
    if any(not y or y < 0 for _, y in pairs):
        return None
    x, y = np.log(np.array(pairs, dtype=float)).T
    return float(np.polyfit(x, y, 1)[0])


def check_drawing() -> None:
    """Measuring takes minutes: what its end needs is looked for at its start. Raises ValueError."""
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError("bench --growth draws with matplotlib: pip install matplotlib")


def draw(path: Path, result: dict) -> None:
    """Writes a PNG: time and memory over frames and over resolution, points and fitted lines, both axes logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 8), layout="constrained")
    panels = figure.subplots(2, 2)
    labels = {"seconds": "processor seconds" if result["device"] == "cpu" else "seconds", "peak": "peak memory, MB"}
    for row, (name, label) in zip(panels, labels.items(), strict=True):
        for axes, (axis, unit) in zip(row, AXES.items(), strict=True):
            for part in NETWORKS:
                pairs = [(p[unit], p[name]) for p in result["points"] if (p["part"], p["axis"]) == (part, axis)]
                add_line(axes, part, pairs, result["exponents"][part][axis][name], 1e-6 if name == "peak" else 1)
            axes.set(xscale="log", yscale="log", xlabel=unit, ylabel=label)
            ticks = sorted({p[unit] for p in result["points"] if p["axis"] == axis})
            axes.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks], rotation=45)
            axes.margins(y=0.3)  # of the legend
            axes.minorticks_off()
            axes.grid(alpha=0.3)
            axes.legend(loc="upper left", fontsize="small", ncols=2)
    figure.suptitle(f"size {result['size']}, {result['dtype']}, {result['device']}, {result['threads']} threads")
    with atomic_write(path) as partial:
        figure.savefig(partial, dpi=110, format="png")


def add_line(axes, part: str, pairs: list[tuple[float, float | None]], power: float | None, unit: float) -> None:
    """The measured points and, through their middle, the fitted power law."""
    if power is None:
        return
    x, y = zip(*sorted(pairs), strict=True)
    (points,) = axes.plot(x, [unit * value for value in y], "o", label=f"{part}: exponent {power:.2f}")
    level = math.exp(sum(math.log(b) - power * math.log(a) for a, b in pairs) / len(pairs))
    axes.plot(x, [unit * level * a**power for a in x], linewidth=1, color=points.get_color())
