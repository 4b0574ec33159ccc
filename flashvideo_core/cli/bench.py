"""The command `bench`: time, memory and arithmetic of one part, beside other implementations in the same run."""

import argparse
import json
from pathlib import Path

from ..bench.compare import bench
from ..bench.growth import check_drawing, draw, growth
from ..bench.sizes import parse_latent
from ..components import pick_device
from ..markdown import format_table
from .progress import Reporter


def run(args: argparse.Namespace, reporter: Reporter) -> None:
    """Lines for people, and on the last line all figures as JSON."""
    device = pick_device(args.device)
    dtype = args.dtype or ("bf16" if device.type == "cuda" else "float32")
    how = {"device": str(device), "dtype": dtype, "threads": args.threads, "callback": reporter.progress}
    if args.growth:
        check_drawing()
        result = growth(args.size, **how)
        draw(Path(args.growth), result)
        reporter.finish(result, [*report_growth(result), json.dumps(result)])
        return
    case = (args.part, args.size, tuple(dict.fromkeys(args.peer)), args.repeats)
    result = bench(*case, **how, latent=parse_latent(args.latent) if args.latent else None)
    reporter.finish(result, [*report(result), json.dumps(result)])


def report(result: dict) -> list[str]:
    """A line for each implementation."""
    latent = "x".join(map(str, result["latent"]))
    head = f"{result['part']} of a {latent} latent, {result['operations'] / 1e9:.4g} GFLOP in the released graph"
    lines = [f"{head}; matmul {result['matmul_gflops']:.4g} GFLOP/s, ours {result['share_of_matmul']:.0%} of it"]
    for name in ("ours", "diffusers", "comfyui"):
        if name in result:
            lines.append(f"{name}: {line(result[name])}")
    error = result["plan_error"]
    off = "" if error is None else f", {error:+.0%} of what was measured"
    return [*lines, f"plan: peak {in_megabytes(result['planned_peak'])}{off}"]


def report_growth(result: dict) -> list[str]:
    """A Markdown table of the exponents."""
    rows = [
        [part, axis, *("unknown" if power is None else f"{power:.2f}" for power in powers.values())]
        for part, axes in result["exponents"].items()
        for axis, powers in axes.items()
    ]
    return format_table(["exponent", "along", "time", "memory", "counted operations"], rows).splitlines()


def line(figures: dict) -> str:
    text = f"{figures['seconds']:.4g} s, {figures['gflops']:.4g} GFLOP/s, peak {in_megabytes(figures['peak'])}"
    if "time_ratio" in figures:
        ratio = f"{figures['peak_ratio']:.2f}" if figures["peak_ratio"] else "unknown"
        text += f"; ours takes {figures['time_ratio']:.2f} of its time and {ratio} of its memory"
        text += f", outputs differ by {figures['error']:.1e}"
    return text


def in_megabytes(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 1e6:.4g} MB"
