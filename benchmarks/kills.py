"""Runs that are killed (SIGKILL) at random moments of each phase and gone on with, against one that was not.

    python benchmarks/kills.py --kills 20 --out kills.jsonl

Each run is `generate` of the embedded model in a process of its own, killed once while it samples the draft, samples
the refined clip, or decodes and writes it; the same command then goes on. All files of the clip must have the bytes of
the uninterrupted run. A phase is known from what lies in the folder. Of every kill a line goes into --out, with which
the same command goes on; at the end the table is printed as Markdown. States are written after every evaluation here,
and a part of the video is one temporal group, so that a short clip has evaluations and parts to go on from. Processes
are forked from this one, which has imported torch.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import torch

from flashvideo_core import clip_parts, solver_file
from flashvideo_core.cli.main import main as run_command

PROMPT = "a red ball moves left"
SIZES = "--frames 21 --height 32 --width 48 --size 64x96 --steps 8 --refine-steps 4 --device cpu --seed 3"
PHASES = ("stage 1", "stage 2", "decode and write")
GONE_ON = ("the finished draft", "evaluation", "the refined latent", "after part")  # the later, the more was there


@dataclass(frozen=True)
class Outcome:
    """One kill: in which phase it came, what the next run went on from, and whether the bytes agree."""

    phase: str
    gone_on_from: str
    is_same: bool


def start(folder: Path) -> int:
    """The number of a process that makes the clip; what it says goes into a file beside the folder."""
    process = os.fork()
    if process:
        return process
    sys.stdout = sys.stderr = folder.with_suffix(".log").open("w")
    os._exit(run_command(["generate", PROMPT, *SIZES.split(), "--output", str(folder)]))


def is_running(process: int) -> bool:
    return os.waitpid(process, os.WNOHANG) == (0, 0)


def finish(folder: Path) -> str:
    """Runs the command to its end, and returns what it said."""
    status = os.waitpid(start(folder), 0)[1]
    said = folder.with_suffix(".log").read_text()
    if status:
        raise SystemExit(said)
    return said


def find_phase(folder: Path) -> str | None:
    """In which phase a run is, by the files that are there; None before the first, between them and after the last."""
    if (folder / ".refined.safetensors").exists():
        return PHASES[2]
    if not (folder / ".sampling.safetensors").exists():
        return None
    return PHASES[1] if (folder / "draft.mp4").exists() else PHASES[0]


def kill_in(phase: str, folder: Path, delay: float) -> str | None:
    """Kills a run `delay` seconds after it came into a phase; the phase it was in then, or None if it had ended."""
    process = start(folder)
    while (running := is_running(process)) and find_phase(folder) != phase:
        time.sleep(0.001)
    time.sleep(delay if running else 0)
    if not running or not is_running(process):
        return None
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return find_phase(folder)


def time_phases(folder: Path) -> dict[str, float]:
    """Seconds of each phase of a run."""
    process, seconds, before = start(folder), Counter(), time.monotonic()
    while is_running(process):
        time.sleep(0.001)
        now = time.monotonic()
        seconds[find_phase(folder)] += now - before
        before = now
    return {phase: seconds[phase] for phase in PHASES}


def read_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def run_kill(phase: str, folder: Path, seconds: float, expected: dict[str, bytes], choose: random.Random) -> Outcome:
    """A kill at a random moment of the phase, and the run that goes on; tried again where it came too late."""
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        if kill_in(phase, folder, choose.uniform(0, seconds)) == phase:
            break
    said = finish(folder)
    found = [text for text in GONE_ON if f"going on from {text}" in said or f"going on {text}" in said]
    return Outcome(phase, found[-1] if found else "the start", read_files(folder) == expected)


def format_table(outcomes: list[Outcome]) -> list[str]:
    lines = ["| killed in | kills | went on from | same bytes |", "|---|---|---|---|"]
    for phase in PHASES:
        own = [outcome for outcome in outcomes if outcome.phase == phase]
        found = Counter(outcome.gone_on_from for outcome in own)
        texts = ", ".join(f"{text}: {count}" for text, count in found.most_common())
        lines.append(f"| {phase} | {len(own)} | {texts} | {sum(outcome.is_same for outcome in own)} of {len(own)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="in each phase")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    lines = args.out.read_text().splitlines() if args.out.exists() else []
    outcomes = [Outcome(**json.loads(line)) for line in lines]
    torch.set_num_threads(1)  # other threads would not be in a forked process
    solver_file.SECONDS, clip_parts.SEGMENT = 0.0, 1
    with tempfile.TemporaryDirectory() as base:
        seconds = time_phases(Path(base) / "whole")
        expected = read_files(Path(base) / "whole")
        for phase, number in product(PHASES, range(args.kills)):
            if number < sum(outcome.phase == phase for outcome in outcomes):
                continue
            choose = random.Random(f"{args.seed} {phase} {number}")
            outcomes.append(run_kill(phase, Path(base) / "killed", seconds[phase], expected, choose))
            with args.out.open("a") as file:
                file.write(json.dumps(asdict(outcomes[-1])) + "\n")
    print("\n".join(format_table(outcomes)))
    if not all(outcome.is_same for outcome in outcomes):
        raise SystemExit("not all runs gave the same bytes")


if __name__ == "__main__":
    main()
