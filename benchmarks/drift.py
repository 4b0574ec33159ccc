"""How far refined clips are from their drafts, and what matching leaves: the tables of docs/embedded-model.md.

    python benchmarks/drift.py --folder runs/drift [--clips 16] [--frames 5] [--noise-steps 30 300]

Drafts of held-out prompts of the embedded model are refined at stage 2's own noise step and at ten times that, each
clip without and with colour or low frequencies of its draft. Of every clip lines go into rows.jsonl, with which the
same command goes on; lines of other weights or lengths are left out. At the end the tables are printed as Markdown.
All numbers are levels of 255, sharpness is that of `evaluate`.

The limits of the warning (faithful.py) are to be the largest value of any clip at the first noise step, rounded up to
an even number; the last table says how many clips of each noise step are then warned of.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from flashvideo_core.components import COMPONENTS, Pipeline, load_pipeline
from flashvideo_core.faithful import COLOR_LIMIT, LOW_LIMIT, MATCHES, match_draft
from flashvideo_core.markdown import format_table
from flashvideo_core.pipeline import Draft, draft
from flashvideo_core.settings import RefineSettings
from flashvideo_core.tiny.evaluate_drafts import refine_latent
from flashvideo_core.tiny.held_out import sample_held_out
from flashvideo_core.tiny.quality import measure_sharpness
from flashvideo_core.vae_passes import encode
from flashvideo_core.weights.reader import file_sha256

NUMBERS = ("color", "low", "worst_low")

Row = dict[str, Any]
"""Hash of the weights, number of frames and of the prompt, noise step, match, Drift, flicker, edges."""


def measure_clips(pipe: Pipeline, number: int, d: Draft, noise_steps: Sequence[int]) -> Iterator[Row]:
    """Every noise step with every match, of the draft of prompt `number`."""
    defaults = pipe.stage2.config.defaults
    z_ref = encode(pipe, d.frames, defaults.size)
    for noise_step in noise_steps:
        settings = RefineSettings.from_defaults(defaults, seed=number, ref_step=noise_step)
        refined = refine_latent(pipe, z_ref, d.prompt, settings)
        for match in MATCHES:
            frames = refined.clone()
            drift = match_draft(frames, d.frames, match)
            measured = {"flicker": measure_flicker(frames), "edges": measure_sharpness(frames)}
            yield {"prompt": number, "noise_step": noise_step, "match": match, **asdict(drift), **measured}


def hash_weights(pipe: Pipeline) -> str:
    """Of all that a refined clip comes from."""
    return ":".join(file_sha256(pipe.files[name])[:12] for name in sorted(COMPONENTS))


def measure_flicker(frames: Tensor) -> float:
    """Mean change of the mean colour from frame to frame, in levels; 0 of a single frame."""
    return 0.0 if len(frames) == 1 else float(255 * frames.mean((1, 2)).diff(dim=0).abs().mean())


def read_rows(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def select(rows: Sequence[Row], noise_step: int, match: str = "none") -> list[Row]:
    return [row for row in rows if row["noise_step"] == noise_step and row["match"] == match]


def format_distribution(rows: Sequence[Row], noise_steps: Sequence[int]) -> str:
    """Of the clips without matching: quantiles of both numbers, and of the worst frame's."""
    cells = []
    for noise_step in noise_steps:
        of_step = select(rows, noise_step)
        shown = [noise_step, len(of_step)]
        for name in NUMBERS:
            values = torch.tensor([float(row[name]) for row in of_step])
            shown += [f"{values.median():.1f}", f"{values.max():.1f}"]
        cells.append(shown)
    head = [f"{name}: median | largest" for name in ("colour", "low", "low of the worst frame")]
    return format_table(["noise step", "clips", *" | ".join(head).split(" | ")], cells)


def format_limits(rows: Sequence[Row], noise_steps: Sequence[int]) -> str:
    """The limits that the first noise step gives, beside those that are set, with the clips that are beyond either."""
    largest = [max(row[name] for row in select(rows, noise_steps[0])) for name in NUMBERS[:2]]
    cells = []
    for what, limits in (
        ("as set", (COLOR_LIMIT, LOW_LIMIT)),
        ("as measured", [2 * math.ceil(value / 2) for value in largest]),
    ):
        warned = [sum(is_beyond(row, limits) for row in select(rows, noise_step)) for noise_step in noise_steps]
        cells.append([what, *(f"{limit:g}" for limit in limits), *warned])
    return format_table(["limits", "colour", "low", *(f"warned at noise step {i}" for i in noise_steps)], cells)


def is_beyond(row: Row, limits: Sequence[float]) -> bool:
    return any(row[name] > limit for name, limit in zip(NUMBERS, limits, strict=False))


def format_matches(rows: Sequence[Row], noise_steps: Sequence[int]) -> str:
    """Means by noise step and match."""
    cells = []
    for noise_step, match in product(noise_steps, MATCHES):
        found = select(rows, noise_step, match)
        mean = {name: sum(row[name] for row in found) / len(found) for name in ("color", "low", "flicker", "edges")}
        levels = [f"{mean[name]:.2f}" for name in ("color", "low", "flicker")]
        cells.append([noise_step, match, *levels, f"{mean['edges']:.3f}"])
    return format_table(
        ["noise step", "match", "colour", "low", "change of the mean colour from frame to frame", "edge sharpness"],
        cells,
    )


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--noise-steps", type=int, nargs="+", help="default: stage 2's own, and ten times that")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    pipe, path = load_pipeline(device="cpu"), args.folder / "rows.jsonl"
    own = pipe.stage2.config.defaults.ref_step
    noise_steps = args.noise_steps or [own, min(10 * own, 999)]
    of = {"weights": hash_weights(pipe), "frames": args.frames}
    rows = [row for row in read_rows(path) if of.items() <= row.items() and row["prompt"] < args.clips]
    for number, prompt in enumerate(sample_held_out(args.clips, seed=7)):
        missing = [step for step in noise_steps if (number, step) not in {(r["prompt"], r["noise_step"]) for r in rows}]
        if not missing:
            continue
        d = draft(pipe, prompt.prompt, seed=number, frames=args.frames)
        found = [of | row for row in measure_clips(pipe, number, d, missing)]
        with path.open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in found)
        rows += found
    print(*(make(rows, noise_steps) for make in (format_distribution, format_limits, format_matches)), sep="\n\n")


if __name__ == "__main__":
    main()
