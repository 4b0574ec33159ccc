"""What makes stage 2 cheaper, in every combination: counted at released size, measured beside each other at another.

python -m flashvideo_core bench --part stage2 --options              # windows, guided, distilled
python -m flashvideo_core bench --part stage2 --options windows      # dense and windows
"""

from collections.abc import Collection
from contextlib import ExitStack
from statistics import median
from typing import TypedDict

from ..errors import InputError
from ..types import ProgressCallback
from .measure import Machine, machine_facts, median_time
from .process import BenchJob, start_memory_worker, start_worker
from .sizes import SIZES
from .timing import CallTime
from .variants import Variant, list_variants


class VariantFigures(TypedDict):
    """Of one combination: operations of a clip of the released size; medians over the rounds, and the peak bytes, at
    the size that was measured. time_ratio: processor time (on a GPU that of the clock) over that of dense."""

    name: str
    passes: int
    operations: int
    seconds: float
    processor_seconds: float | None
    time_ratio: float
    peak: int | None


class OptionsResult(Machine):
    """What `bench --options` prints as JSON."""

    part: str
    size: str
    latent: list[int]
    variants: list[VariantFigures]


def bench_options(
    job: BenchJob, options: Collection[str], repeats: int = 3, callback: ProgressCallback | None = None
) -> OptionsResult:
    """Measures every combination once a round, in turn. Raises InputError for another part than stage2."""
    if job.workload != "stage2":
        raise InputError(f"--options are of the part stage2, not of {job.workload}")
    if repeats < 1:
        raise InputError(f"repeats is {repeats}; it must be at least 1")
    variants = list_variants(options)
    peaks = [measure_peak(job, variant) for variant in variants]
    rounds = measure_rounds(job, variants, repeats, callback)
    figures = [describe(variant, rounds, peak) for variant, peak in zip(variants, peaks, strict=True)]
    facts = machine_facts(job.device, job.dtype, job.threads)
    latent = list(job.run_latent)
    return {"part": job.workload, "size": job.size_name, "latent": latent, **facts, "variants": figures}


def measure_peak(job: BenchJob, variant: Variant) -> int | None:
    with start_memory_worker(job, variant.name) as worker:
        return worker.measure_peak()


def measure_rounds(
    job: BenchJob, variants: list[Variant], repeats: int, callback: ProgressCallback | None
) -> list[dict[str, CallTime]]:
    """Times by the variant's name, a round each, which begins with another one."""
    names, rounds = [variant.name for variant in variants], []
    with ExitStack() as stack:
        workers = {name: stack.enter_context(start_worker(job, name)) for name in names}
        for i in range(repeats):
            first = i % len(names)
            rounds.append({name: workers[name].measure_time() for name in names[first:] + names[:first]})
            if callback is not None:
                callback(f"{job.workload} {job.size_name}", i + 1, repeats, None)
    return rounds


def describe(variant: Variant, rounds: list[dict[str, CallTime]], peak: int | None) -> VariantFigures:
    times = [times[variant.name] for times in rounds]
    ratios = [spent(times[variant.name]) / spent(times[Variant().name]) for times in rounds]
    return {
        "name": variant.name,
        "passes": variant.count_passes(),
        "operations": variant.count_operations(SIZES["released"]),
        "seconds": median_time(times, "seconds"),
        "processor_seconds": median_time(times, "processor_seconds"),
        "time_ratio": median(ratios),
        "peak": peak,
    }


def spent(time: CallTime) -> float:
    return time["processor_seconds"] or time["seconds"]
