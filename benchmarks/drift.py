"""How far refined clips are from their drafts, and what matching leaves: the tables of docs/embedded-model.md.

    python benchmarks/drift.py --folder runs/drift [--prompts 24] [--frames 5] [--noise-steps 30 300 600]

Drafts of held-out prompts of the embedded model are refined with their default settings and with other noise steps,
each clip without and with colour or low frequencies of its draft. Of every clip a line goes into rows.jsonl, with which
the same command goes on; at the end the tables are printed as Markdown. All numbers are levels of 255, sharpness is
that of `evaluate`.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from flashvideo_core.components import Pipeline, load_pipeline
from flashvideo_core.faithful import MATCHES, match_draft
from flashvideo_core.markdown import format_table
from flashvideo_core.pipeline import Draft, draft
from flashvideo_core.settings import RefineSettings
from flashvideo_core.tiny.evaluate_rendered import refine_latent
from flashvideo_core.tiny.held_out import sample_held_out
from flashvideo_core.tiny.quality import measure_sharpness
from flashvideo_core.vae_passes import encode

Row = dict[str, Any]
"""A measured clip: number of its prompt, noise step, match, the fields of Drift, flicker, sharpness."""


def measure_clips(pipe: Pipeline, number: int, d: Draft, noise_steps: Sequence[int]) -> Iterator[Row]:
    """Every noise step with every match."""
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


def measure_flicker(frames: Tensor) -> float:
    """Mean change of the mean colour from frame to frame, in levels; 0 of a single frame."""
    return 0.0 if len(frames) == 1 else float(255 * frames.mean((1, 2)).diff(dim=0).abs().mean())


def read_rows(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def format_distribution(rows: Sequence[Row]) -> str:
    """Of the clips without matching, by noise step: quantiles of both numbers."""
    cells = []
    for noise_step in sorted({row["noise_step"] for row in rows}):
        of_step = [row for row in rows if row["noise_step"] == noise_step and row["match"] == "none"]
        shown = [noise_step, len(of_step)]
        for name in ("color", "low", "worst_low"):
            values = torch.tensor([float(row[name]) for row in of_step])
            shown += [f"{values.median():.1f}", f"{values.quantile(0.95):.1f}", f"{values.max():.1f}"]
        cells.append(shown)
    head = ["noise step", "clips"]
    head += [
        f"{name}, {of}" for name in ("colour", "low", "low of the worst frame") for of in ("median", "95 %", "max")
    ]
    return format_table(head, cells)


def format_matches(rows: Sequence[Row]) -> str:
    """Means by noise step and match."""
    cells = []
    for noise_step in sorted({row["noise_step"] for row in rows}):
        for match in MATCHES:
            found = [row for row in rows if row["noise_step"] == noise_step and row["match"] == match]
            means = {
                name: sum(row[name] for row in found) / len(found) for name in ("color", "low", "flicker", "edges")
            }
            cells.append(
                [noise_step, match, *(f"{means[n]:.2f}" for n in ("color", "low", "flicker")), f"{means['edges']:.3f}"]
            )
    return format_table(["noise step", "match", "colour", "low", "flicker", "edge sharpness"], cells)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--noise-steps", type=int, nargs="+", default=[30, 300, 600])
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    pipe, path = load_pipeline(device="cpu"), args.folder / "rows.jsonl"
    rows = read_rows(path)
    for number, prompt in enumerate(sample_held_out(args.prompts, seed=7)):
        if number in {row["prompt"] for row in rows}:
            continue
        d = draft(pipe, prompt.prompt, seed=number, frames=args.frames)
        found = list(measure_clips(pipe, number, d, args.noise_steps))
        with path.open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in found)
        rows += found
    print(format_distribution(rows) + "\n\n" + format_matches(rows))


if __name__ == "__main__":
    main()
