"""What a card does at released size: every phase with random weights, measured once and written as a table.

    python -m flashvideo_core bench --gpu-report gpu.md

The rows of each phase are kept beside the report (gpu.json), so that a run that was stopped goes on after the last
finished phase.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from ..kernels import choose_attention
from ..types import ProgressCallback
from ..weights.atomic import atomic_write
from .gpu_phases import PHASES, Case, Phase, Row, free_cache
from .sizes import SIZES

GIB = 2**30
COLUMNS = ("what", "seconds", "TFLOP/s", "peak, GiB", "planned, GiB", "note")


@torch.no_grad()
def write_gpu_report(
    path: Path,
    size: str,
    device: torch.device,
    dtype: torch.dtype,
    callback: ProgressCallback | None = None,
    phases: Mapping[str, Phase] = PHASES,
) -> list[Row]:
    """Measures the phases that are not in the report's JSON yet and writes both files; returns the rows of all.

    path is the Markdown file; the JSON beside it is written after each phase and belongs to one machine, dtype and
    size: what it holds of another is measured anew. size is a name of sizes.SIZES.
    """
    store = path.with_suffix(".json")
    case = Case(SIZES[size], device, dtype, choose_attention("auto", device, dtype))
    head = describe_machine(size, device, dtype)
    kept = json.loads(store.read_text()) if store.exists() else {}
    done: dict[str, list[Row]] = kept["phases"] if kept.get("machine") == head else {}
    for step, (name, measure) in enumerate(phases.items(), 1):
        if name not in done:
            done[name] = measure(case)
            free_cache(device)
            with atomic_write(store) as partial:
                partial.write_text(json.dumps({"machine": head, "phases": done}, indent=1) + "\n", "utf-8")
        if callback is not None:
            callback("gpu report", step, len(phases), None)
    rows = [row for name in phases for row in done[name]]
    with atomic_write(path) as partial:
        partial.write_text(format_report(head, rows), "utf-8")
    return rows


def describe_machine(size: str, device: torch.device, dtype: torch.dtype) -> str:
    """One line: the card, torch, the dtype and the size that was measured."""
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else f"no GPU ({device.type})"
    return f"{card}, torch {torch.__version__}, {str(dtype).removeprefix('torch.')}, size {size}"


def format_report(machine: str, rows: list[Row]) -> str:
    """The report as Markdown: the machine, then a table of the rows."""
    lines = [machine, "", f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    for row in rows:
        rate = row["operations"] / row["seconds"] / 1e12 if row["operations"] and row["seconds"] else None
        memory = [None if row[name] is None else row[name] / GIB for name in ("peak", "planned")]
        cells = ["" if value is None else f"{value:.3g}" for value in (row["seconds"], rate, *memory)]
        lines.append(f"| {' | '.join([row['what'], *cells, row['note']])} |")
    return "\n".join(lines) + "\n"
