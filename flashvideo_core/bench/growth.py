"""How time and memory of the networks grow with frames and with resolution, as power laws."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TypedDict

import numpy as np
import torch

from ..device import DTYPES
from ..types import ProgressCallback
from .measure import Machine, machine_facts, plan_peak
from .operations import count_operations
from .process import OURS, WINDOWS, BenchJob, start_memory_worker, start_worker
from .sizes import LATENT_FIELD, NETWORKS, Latent, find_size

FRAMES = (3, 5, 7, 9)  # latent frames, at the size's own resolution
SIDES = (1, 1.25, 1.5, 2)  # times the size's own height and width, at 3 latent frames
ATTENTION_SIDES = (1, 1.5, 2, 3)  # the same where attention is compared, which has to outweigh the linear layers
CURVES = {network: (network, OURS) for network in NETWORKS}  # name -> workload, implementation
ATTENTION_CURVES = {"dense": ("dit", OURS), "windows": ("dit", WINDOWS)}
AXES = {"frames": "frames", "resolution": "megapixels"}  # axis -> the key of a point that it goes along
QUANTITIES = ("seconds", "peak", "operations")


class LatentFigures(TypedDict):
    """One latent of a network: megapixels are of a frame, peaks in bytes."""

    latent: list[int]
    frames: int
    megapixels: float
    seconds: float
    peak: int | None
    planned_peak: int
    operations: int


class Point(LatentFigures):
    """A latent as one of those along an axis; `part` is the curve."""

    part: str
    axis: str


class GrowthResult(Machine):
    """What `bench --growth` prints as JSON; exponents by curve, axis and quantity (None: not measured)."""

    size: str
    exponents: dict[str, dict[str, dict[str, float | None]]]
    points: list[Point]


def measure_growth(
    size_name: str,
    device: str = "cpu",
    dtype: str = "float32",
    threads: int | None = None,
    callback: ProgressCallback | None = None,
    curves: Mapping[str, tuple[str, str]] = CURVES,
    frames: tuple[int, ...] = FRAMES,
    sides: tuple[float, ...] = SIDES,
) -> GrowthResult:
    """Measures every curve at every point and fits power laws through them.

    On a CPU `seconds` are those of the processor over all threads, which other work on the machine disturbs least.
    Raises InputError for an unknown size.
    """
    points = []
    for curve, (network, implementation) in curves.items():
        base = find_size(network, size_name).latent_of(network)
        by_axis = {
            "frames": [(t, *base[1:]) for t in frames],
            "resolution": [(frames[0], *scale_sides(base, side)) for side in sides],
        }
        latents = list(dict.fromkeys(latent for axis in by_axis.values() for latent in axis))
        job = BenchJob(network, size_name, base, device, dtype, threads)
        measured = _measure_latents(job, implementation, latents, callback)
        points += [
            {"part": curve, "axis": axis, **measured[latent]} for axis, along in by_axis.items() for latent in along
        ]
    exponents = {curve: {axis: fit_exponents(points, curve, axis) for axis in AXES} for curve in curves}
    return {"size": size_name, **machine_facts(device, dtype, threads), "exponents": exponents, "points": points}


def scale_sides(latent: Latent, factor: float) -> tuple[int, int]:
    """Height and width times a factor, even."""
    return 2 * round(latent[1] * factor / 2), 2 * round(latent[2] * factor / 2)


def _measure_latents(
    job: BenchJob, implementation: str, latents: list[Latent], callback: ProgressCallback | None
) -> dict[Latent, LatentFigures]:
    figures = {}
    with start_memory_worker(job, implementation) as for_memory, start_worker(job, implementation) as for_time:
        for i, latent in enumerate(latents):
            for_memory.set_latent(latent)
            for_time.set_latent(latent)
            timing, size = for_time.measure_time(), replace(job.size, **{LATENT_FIELD[job.workload]: latent})
            figures[latent] = {
                "latent": list(latent),
                "frames": 4 * latent[0] - 3,
                "megapixels": 64 * latent[1] * latent[2] / 1e6,
                "seconds": timing["processor_seconds"] or timing["seconds"],
                "peak": for_memory.measure_peak(),
                "planned_peak": plan_peak(job.workload, size, DTYPES[job.dtype], torch.device(job.device)),
                "operations": count_operations(job.workload, size, size.window if implementation == WINDOWS else None),
            }
            if callback is not None:
                callback(f"{job.workload} {job.size_name}", i + 1, len(latents), None)
    return figures


def fit_exponents(points: list[Point], curve: str, axis: str) -> dict[str, float | None]:
    """Exponents of the least-squares power laws of a curve along an axis; None for what was not measured."""
    chosen = [point for point in points if (point["part"], point["axis"]) == (curve, axis)]
    return {name: fit_exponent([(point[AXES[axis]], point[name]) for point in chosen]) for name in QUANTITIES}


def fit_exponent(pairs: list[tuple[float, float | None]]) -> float | None:
    """b of y = a x^b that is nearest in logarithms."""
    if any(not y or y < 0 for _, y in pairs):
        return None
    x, y = np.log(np.array(pairs, dtype=float)).T
    return float(np.polyfit(x, y, 1)[0])
