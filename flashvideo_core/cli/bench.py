"""The command `bench`: time, memory and arithmetic of one workload, beside other implementations in the same run."""

import argparse
import importlib.util
import json
from pathlib import Path

from ..bench.gpu_report import write_gpu_report
from ..bench.growth import ATTENTION_CURVES, ATTENTION_SIDES, GrowthResult, measure_growth
from ..bench.growth_plot import check_can_plot, plot_growth
from ..bench.measure import BenchResult, PeerFigures, bench
from ..bench.options import OptionsResult, bench_options
from ..bench.process import BenchJob
from ..bench.sizes import format_latent, parse_latent
from ..bench.variants import OPTIONS
from ..device import pick_device, pick_dtype
from ..errors import InputError
from ..markdown import format_table
from ..weights.atomic import check_writable
from .components import DTYPES
from .progress import Reporter


def run(args: argparse.Namespace, reporter: Reporter) -> None:
    """Lines for people, and on the last line all figures as JSON."""
    if args.threads is not None and args.threads < 1:
        raise InputError(f"threads is {args.threads}; it must be at least 1")
    device = pick_device(args.device)
    dtype = args.dtype or next(name for name, dtype in DTYPES.items() if dtype is pick_dtype(device))
    if args.gpu_report:
        path = Path(args.gpu_report)
        check_target(path)
        rows = write_gpu_report(path, args.size, device, DTYPES[dtype], reporter.progress)
        reporter.finish({"file": str(path), "rows": rows}, [path.read_text("utf-8")])
        return
    if device.type == "cpu" and importlib.util.find_spec("psutil") is None:
        reporter.note("peak memory is not measured without psutil: pip install psutil")
    if args.growth:
        check_can_plot()
        check_target(Path(args.growth))
        axes = {"curves": ATTENTION_CURVES, "sides": ATTENTION_SIDES} if args.part == "dit" else {}
        result = measure_growth(args.size, str(device), dtype, args.threads, reporter.progress, **axes)
        plot_growth(Path(args.growth), result)
        lines = describe_growth(result)
    else:
        latent = parse_latent(args.latent) if args.latent else None
        job = BenchJob(args.part, args.size, latent, str(device), dtype, args.threads)
        if args.options is None:
            result = bench(job, tuple(dict.fromkeys(args.peer)), args.repeats, reporter.progress)
            lines = describe_result(result)
        else:
            result = bench_options(job, args.options or OPTIONS, args.repeats, reporter.progress)
            lines = describe_options(result)
    reporter.finish(result, [*lines, json.dumps(result)])


def check_target(path: Path) -> None:
    """Raises InputError before the measuring for a file that could not be written after it."""
    check_writable(path.parent)
    if path.is_dir():
        raise InputError(f"{path} is a folder; name the file to write")


def describe_result(result: BenchResult) -> list[str]:
    """A line for each implementation."""
    head = f"{result['part']} of a {format_latent(result['latent'])} latent"
    head += f", {result['operations'] / 1e9:.4g} GFLOP in the released graph"
    lines = [f"{head}; matmul {result['matmul_gflops']:.4g} GFLOP/s, ours {result['share_of_matmul']:.0%} of it"]
    for name in ("ours", "diffusers", "comfyui", "windows"):
        if name in result:
            lines.append(f"{name}: {describe_figures(result[name])}")
    error = result["plan_error"]
    off = "" if error is None else f", {error:+.0%} of what was measured"
    return [*lines, f"plan: peak {format_megabytes(result['planned_peak'])}{off}"]


def describe_figures(figures: PeerFigures) -> str:
    """A line; what compares with ours is there for peers alone."""
    on_processor = figures["processor_seconds"]
    text = f"{figures['seconds']:.4g} s"
    text += "" if on_processor is None else f" ({on_processor:.4g} s of the processor)"
    text += f", {figures['gflops']:.4g} GFLOP/s, peak {format_megabytes(figures['peak'])}"
    if "time_ratio" in figures:
        ratio = f"{figures['peak_ratio']:.2f}" if figures["peak_ratio"] else "unknown"
        text += f"; ours takes {figures['time_ratio']:.2f} of its time and {ratio} of its memory"
        text += f", outputs differ by {figures['error']:.1e}"
    return text


def describe_options(result: OptionsResult) -> list[str]:
    """A Markdown table, a combination a row."""
    head = ["stage 2", "passes", "PFLOP at 49x1072x1920", "less", f"s, {format_latent(result['latent'])}"]
    head += ["processor s", "of dense", "peak"]
    dense, rows = result["variants"][0], []
    for row in result["variants"]:
        on_processor = "" if row["processor_seconds"] is None else f"{row['processor_seconds']:.3g}"
        counted = [row["passes"], f"{row['operations'] / 1e15:.2f}", f"{dense['operations'] / row['operations']:.1f}x"]
        measured = [f"{row['seconds']:.3g}", on_processor, f"{row['time_ratio']:.2f}", format_megabytes(row["peak"])]
        rows.append([row["name"], *counted, *measured])
    return format_table(head, rows).splitlines()


def describe_growth(result: GrowthResult) -> list[str]:
    """A Markdown table of the exponents."""
    rows = [
        [network, axis, *("unknown" if power is None else f"{power:.2f}" for power in powers.values())]
        for network, axes in result["exponents"].items()
        for axis, powers in axes.items()
    ]
    return format_table(["exponent", "along", "time", "memory", "counted operations"], rows).splitlines()


def format_megabytes(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 1e6:.4g} MB"
