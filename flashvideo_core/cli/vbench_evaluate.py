"""The command `vbench evaluate`: runs the vbench package, in the environment that has it, and collects what it says."""

import argparse
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..weights.atomic import check_writable
from .options import parse_options
from .outputs import write_json
from .progress import Reporter
from .vbench_manifest import read_manifest
from .vbench_scores import format_scores, tabulate

RESULTS = "_eval_results.json"  # how vbench calls its file
WARNING = "WARNING!!!"  # how it begins a line on a video that it does not find
SCRIPT = """
import json, sys
import torch, vbench
asked = json.load(sys.stdin)
device = asked["device"] or ("cuda" if torch.cuda.is_available() else "cpu")
vbench.VBench(torch.device(device), asked["info"], asked["output"]).evaluate(
    asked["videos"], asked["dimension"], dimension_list=[asked["dimension"]],
    imaging_quality_preprocessing_mode="longer",
)
"""


@dataclass(frozen=True)
class EvaluateOptions:
    """python: of the environment that has the vbench package. None for what the folder's list says."""

    folder: str
    python: str
    dimensions: list[str] | None
    info: str | None
    device: str | None
    output: str | None


def run(args: argparse.Namespace, reporter: Reporter) -> None:
    evaluate_suite(parse_options(EvaluateOptions, args), reporter)


def evaluate_suite(options: EvaluateOptions, reporter: Reporter) -> None:
    """A dimension at a time: one that fails costs no other. Raises InputError, at the end, where one did."""
    folder, manifest = Path(options.folder).resolve(), read_manifest(Path(options.folder))
    output = Path(options.output or f"{folder}-vbench").resolve()
    check_writable(output)
    info = str(Path(options.info).resolve()) if options.info else manifest.info
    request = {"videos": str(folder), "output": str(output), "info": info, "device": options.device}
    dimensions, failed = options.dimensions or list(manifest.dimensions), []
    for number, dimension in enumerate(dimensions, 1):
        log = output / f"{dimension}.log"
        if run_vbench(options.python, request | {"dimension": dimension}, log) != 0:
            failed.append(f"{dimension}: {last_line(log)} (all of it in {log})")
            reporter.note(f"failed: {failed[-1]}")
        elif missed := log.read_text("utf-8", "replace").count(WARNING):
            reporter.note(f"{dimension}: vbench missed {missed} videos; see {log}")
        reporter.progress("vbench", number, len(dimensions))
    table = tabulate(collect_scores(output))
    write_json(output / "scores.json", table)
    reporter.finish({"scores": table, "folder": str(output)}, [format_scores(table)])
    if failed:
        raise InputError(f"{len(failed)} of {len(dimensions)} dimensions failed, the first: {failed[0]}")


def run_vbench(python: str, request: dict[str, str | None], log: Path) -> int:
    """The exit code of one evaluation, whose output goes into the log. Raises InputError for a python that is none."""
    with log.open("w") as out:
        try:
            done = subprocess.run(
                [python, "-c", SCRIPT],
                input=json.dumps(request),
                text=True,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=log.parent,  # python -c looks for modules there first
            )
        except OSError as error:
            raise InputError(f"--python {python} cannot be run: {error.strerror}") from None
    return done.returncode


def last_line(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def collect_scores(output: Path) -> dict[str, float]:
    """The score of each dimension that was ever evaluated into this folder."""
    scores: dict[str, float] = {}
    for path in sorted(output.glob(f"*{RESULTS}")):
        for name, result in json.loads(path.read_text("utf-8")).items():
            scores[name] = float(result[0] if isinstance(result, list) else result)
    return scores
