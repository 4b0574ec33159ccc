"""A workload measured, beside other implementations if there are any, each in processes of its own."""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import TypedDict

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..device import DTYPES
from ..errors import InputError
from ..memory import free_memory, plan_run, transformer_peak, vae_peak
from ..sizes import clip_size
from ..types import ProgressCallback
from .operations import count_operations
from .process import PEERS, WINDOWS, BenchJob, Worker, start_memory_worker, start_worker
from .sizes import NETWORKS, Size
from .timing import CallTime

Rounds = list[dict[str, CallTime]]
"""Times by implementation, a round each."""


class Figures(TypedDict):
    """Of one implementation: median seconds by the clock and (on a CPU) of the processor, operations a second in 10^9,
    peak bytes."""

    seconds: float
    processor_seconds: float | None
    gflops: float
    peak: int | None


class PeerFigures(Figures):
    """Ratios are ours / theirs. `error`: the largest difference over the largest value on an input that all take as one
    temporal group; `difference`: that of the whole output, where an implementation may group otherwise (None: it has
    another shape)."""

    error: float | None
    difference: float | None
    time_ratio: float
    peak_ratio: float | None


class Machine(TypedDict):
    """What was measured on."""

    torch: str
    device: str
    dtype: str
    threads: int


class BenchResult(Machine, total=False):
    """What `bench` prints as JSON; `part` is the workload. A peer that was measured has a key of its name."""

    part: str
    size: str
    latent: list[int]
    steps: list[int]
    operations: int
    matmul_gflops: float
    share_of_matmul: float
    planned_peak: int
    plan_error: float | None
    ours: Figures
    diffusers: PeerFigures
    comfyui: PeerFigures
    windows: PeerFigures


def bench(
    job: BenchJob, peers: tuple[str, ...] = (), repeats: int = 3, callback: ProgressCallback | None = None
) -> BenchResult:
    """Measures a job; peers are "diffusers" and "comfyui", and of the part dit "windows": itself, over windows.

    Each round runs every implementation once, in turn; times, rates and ratios are medians over the rounds. Raises
    InputError for peers of a workload that has none and for what is not installed.
    """
    _check(job, peers, repeats)
    names, size = ("ours", *peers), job.size
    peaks = {name: _measure_peak(job, name) for name in reversed(names)}
    with ExitStack() as stack:
        workers = {name: stack.enter_context(start_worker(job, name)) for name in names}
        rounds, rates = _measure_rounds(job, workers, repeats, callback)
        differences = _measure_differences(workers) if peers else {}
    count = count_operations(job.workload, size)
    result: BenchResult = {"part": job.workload, "size": job.size_name, "latent": list(job.run_latent)}
    result |= machine_facts(job.device, job.dtype, job.threads)
    if job.workload not in NETWORKS:
        result["steps"] = list(size.steps)
    result |= {"operations": count, "matmul_gflops": median(rates) / 1e9}
    result["share_of_matmul"] = median(
        count / r["ours"]["seconds"] / rate for r, rate in zip(rounds, rates, strict=True)
    )
    planned = plan_peak(job.workload, size, DTYPES[job.dtype], torch.device(job.device))
    result |= {"planned_peak": planned, "plan_error": planned / peaks["ours"] - 1 if peaks["ours"] else None}
    for name in names:
        seconds, on_processor = (median_time([r[name] for r in rounds], key) for key in CallTime.__annotations__)
        result[name] = {"seconds": seconds, "processor_seconds": on_processor}
        result[name] |= {"gflops": count / seconds / 1e9, "peak": peaks[name]}
    for name in peers:
        ratios = {"time_ratio": median(r["ours"]["seconds"] / r[name]["seconds"] for r in rounds)}
        ratios["peak_ratio"] = peaks["ours"] / peaks[name] if peaks["ours"] and peaks[name] else None
        result[name] |= differences[name] | ratios
    return result


def _check(job: BenchJob, peers: tuple[str, ...], repeats: int) -> None:
    if repeats < 1:
        raise InputError(f"repeats is {repeats}; it must be at least 1")
    if peers and job.workload not in NETWORKS:
        raise InputError(f"{job.workload} has no peers; they are measured in {', '.join(NETWORKS)}")
    if WINDOWS in peers and job.workload != "dit":
        raise InputError(f"windows are of attention: they are measured in the part dit, not in {job.workload}")
    if set(peers) - {WINDOWS} and not PEERS.is_file():
        raise InputError(f"peers are measured from a checkout of the repository, which has benchmarks/{PEERS.name}")


def _measure_peak(job: BenchJob, implementation: str) -> int | None:
    with start_memory_worker(job, implementation) as worker:
        return worker.measure_peak()


def _measure_rounds(
    job: BenchJob, workers: dict[str, Worker], repeats: int, callback: ProgressCallback | None
) -> tuple[Rounds, list[float]]:
    """The rounds, each begun by another implementation, and the rate of matrix products before each."""
    names, rounds, rates = list(workers), [], []
    for i in range(repeats):
        first = i % len(names)
        rates.append(workers["ours"].measure_matmul())
        rounds.append({name: workers[name].measure_time() for name in names[first:] + names[:first]})
        if callback is not None:
            callback(f"{job.workload} {job.size_name}", i + 1, repeats, None)
    return rounds, rates


def median_time(times: list[CallTime], key: str) -> float | None:
    """None where it was not measured, on a GPU."""
    found = [time[key] for time in times if time[key] is not None]
    return median(found) if found else None


def _measure_differences(workers: dict[str, Worker]) -> dict[str, dict[str, float | None]]:
    """Of every peer's outputs from ours."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = {}
        for name, worker in workers.items():
            path = Path(folder) / f"{name}.safetensors"
            worker.save_outputs(path)
            outputs[name] = load_file(path)
    ours = outputs.pop("ours")
    return {
        name: {
            "error": relative_error(theirs["check"], ours["check"]),
            "difference": relative_error(theirs["run"], ours["run"]),
        }
        for name, theirs in outputs.items()
    }


def relative_error(theirs: Tensor, ours: Tensor) -> float | None:
    """Largest difference over largest value. Ours clamps frames, so theirs are clamped too where ours reach 1."""
    if theirs.shape != ours.shape:
        return None
    if ours.shape[1] == 3:
        theirs = theirs.clamp(-1, 1)
    return ((theirs - ours).abs().max() / ours.abs().max()).item()


def plan_peak(workload: str, size: Size, dtype: torch.dtype, device: torch.device) -> int:
    """What the memory plan says that a run takes beside inputs, and beside weights that are there already."""
    if workload.startswith("vae"):
        return vae_peak(size.vae, workload.removeprefix("vae-"), clip_size(*size.vae_latent), dtype, device)
    if workload == "dit":
        return transformer_peak(size.transformer, 1, size.clip_latent, dtype.itemsize)
    if workload in ("stage1", "stage2"):
        return transformer_peak(getattr(size, workload), 2, size.latent_of(workload), dtype.itemsize)
    configs = {"stage1": size.stage1, "stage2": size.stage2, "vae": size.vae}
    draft, target = clip_size(*size.draft_latent), clip_size(*size.clip_latent)[1:]
    phases = plan_run(configs, draft, target, dtype, device, free_memory(device))
    return max(phase.work + phase.weights * (device.type != "cpu") for phase in phases)


def machine_facts(device: str, dtype: str, threads: int | None) -> Machine:
    on_cuda = torch.device(device).type == "cuda"
    return {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if on_cuda else "cpu",
        "dtype": dtype,
        "threads": threads or torch.get_num_threads(),
    }
