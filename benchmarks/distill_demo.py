"""The embedded stage 2 distilled to one evaluation without guidance: as sharp as its guided teacher, and as faithful?

    python benchmarks/distill_demo.py --folder runs/student [--drafts 16] [--steps 1500] [--middle 192x288]

Writes prompts of the training world, trains the student on drafts of them through the command line (teacher: cfg 4, 4
evaluations, 8 passes), and refines drafts of held-out prompts with both. Prints a Markdown table, and on the last line
the same as JSON (also result.json); strip.png shows the middle frame of some clips, lora.safetensors is the student in
float16. Everything in the folder is kept and used again. --lora measures a LoRA that is there already; --middle decodes
and judges so much of the frame only, where the shapes are: the VAE takes most of the time.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from flashvideo_core.checkpoint import load_transformer
from flashvideo_core.cli.main import main as flashvideo
from flashvideo_core.cli.options import parse_size
from flashvideo_core.components import TINY, Pipeline, load_pipeline
from flashvideo_core.markdown import format_table
from flashvideo_core.phases import embed, refine_reference
from flashvideo_core.pipeline import draft
from flashvideo_core.tiny.captions import caption
from flashvideo_core.tiny.evaluate_drafts import get_refine_settings
from flashvideo_core.tiny.held_out import HeldOutPrompt, sample_held_out
from flashvideo_core.tiny.intervals import compute_wilson
from flashvideo_core.tiny.scene import sample_scene
from flashvideo_core.tiny.scores import score_refined, upsample
from flashvideo_core.training.spans import center_crop
from flashvideo_core.vae_passes import decode, encode
from flashvideo_core.weights.atomic import save_weights
from flashvideo_core.weights.reader import open_file

CFG = 4.0
PROMPT_SEED, HELD_OUT_SEED = 20251126, 1
JUDGED = ("color", "shape", "motion")
Scores = dict[str, float]


@dataclass(frozen=True)
class Refiner:
    """A row of the table: whose weights ("teacher", "student" or, with none, the upsampled draft), and how run."""

    name: str
    weights: str | None
    steps: int = 0
    cfg: float = 1.0

    @property
    def passes(self) -> int:
        """Of the network, for one clip."""
        return self.steps * (1 if self.cfg == 1 else 2)


TEACHER = Refiner("teacher, 4 evaluations", "teacher", 4, CFG)
STUDENT = Refiner("student, 1 evaluation", "student", 1)
PLAIN = Refiner("teacher, 1 evaluation without guidance", "teacher", 1)
DRAFT = Refiner("upsampled draft", None)
REFINERS = (
    DRAFT,
    TEACHER,
    PLAIN,
    Refiner("student, 4 evaluations", "student", 4),
    Refiner("student, 2 evaluations", "student", 2),
    STUDENT,
)


def write_prompts(path: Path, count: int) -> None:
    """Captions of scenes of the training world, none of a held-out combination."""
    lines = []
    for i in range(count):
        rng = np.random.default_rng([PROMPT_SEED, i])
        lines.append(caption(sample_scene(rng), rng)[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def train_student(args: argparse.Namespace) -> Path:
    """The LoRA in float16; trains as far as the folder has none."""
    write_prompts(args.folder / "prompts.txt", args.prompts)
    options = {"prompts": args.folder / "prompts.txt", "folder": args.folder / "run", "cfg": CFG, "rank": args.rank}
    options |= {"steps": args.steps, "lr": args.lr, "batch": args.batch, "curriculum": "patches"}
    options |= {"layers": "all", "edges": args.edges, "sample-every": 0, "save-every": 50, "device": "cpu"}
    words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    if flashvideo(["train", "distill", "--direct", *words]):
        raise SystemExit("train distill failed")
    return export_student(args.folder / "run/lora.safetensors", args.folder / "lora.safetensors", args.strength)


def export_student(source: Path, target: Path, strength: float) -> Path:
    """The LoRA in float16, half the bytes and as exact as the weights that it is for, with its strength in alpha."""
    file = open_file(source)
    tensors = {name: t * strength if name.endswith(".alpha") else t for name, t in file.tensors.items()}
    metadata = file.metadata | {"alpha": f"{float(file.metadata['alpha']) * strength:g}"}
    save_weights(target, {name: tensor.half() for name, tensor in tensors.items()}, metadata)
    return target


def measure(folder: Path, lora: Path, count: int, middle: tuple[int, int]) -> dict[str, list[Scores]]:
    """The scores of every clip by the rows' names; what has its scores in the folder is not made again."""
    pipe = load_pipeline(device="cpu")
    student = load_transformer(TINY / "stage2.safetensors", lora=lora)
    pipes = {"teacher": pipe, "student": replace(pipe, stage2=student)}
    found: dict[str, list[Scores]] = {refiner.name: [] for refiner in REFINERS}
    for number, prompt in enumerate(sample_held_out(count, HELD_OUT_SEED)):
        paths = {refiner: folder / "scores" / f"{number:04d}-{refiner.name}.json" for refiner in REFINERS}
        missing = [refiner for refiner, path in paths.items() if not path.exists()]
        for refiner, clip, d in refine_with(missing, pipes, prompt, number, middle):
            write_frame(paths[refiner].with_suffix(".png"), clip)
            paths[refiner].write_text(json.dumps(score_refined(prompt.scene, clip, d)) + "\n")
        for refiner, path in paths.items():
            found[refiner.name].append(json.loads(path.read_text()))
        print(f"refined drafts: {number + 1}/{count}", file=sys.stderr, flush=True)
    return found


def refine_with(
    refiners: Sequence[Refiner], pipes: dict[str, Pipeline], prompt: HeldOutPrompt, seed: int, middle: tuple[int, int]
) -> Iterator[tuple[Refiner, Tensor, Tensor]]:
    """(refiner, the middle of its clip [F, h, w, 3] in 0..1, that of the draft likewise) of each."""
    if not refiners:
        return
    pipe = pipes["teacher"]
    d, size = draft(pipe, prompt.prompt, seed=seed), get_refine_settings(pipe).size
    z_ref, txt = encode(pipe, d.frames, size), embed(pipe, prompt.prompt, None, 2)[0]
    rows, columns = center_crop(d.frames.shape[1:3], (middle[0] // 4, middle[1] // 4))
    seen = d.frames[:, rows, columns]
    rows, columns = center_crop(z_ref.shape[3:], (middle[0] // 8, middle[1] // 8))
    for refiner in refiners:
        if refiner.weights is None:
            yield refiner, upsample(seen, middle), seen
            continue
        settings = get_refine_settings(pipe, steps=refiner.steps, cfg=refiner.cfg, seed=seed)
        refiner_pipe = pipes[refiner.weights]
        z = refine_reference(refiner_pipe, refiner_pipe.stage2, z_ref, txt, settings)
        yield refiner, decode(pipe, z[..., rows, columns], "decode"), seen


def write_frame(path: Path, clip: Tensor) -> None:
    """The middle frame of a clip [F, H, W, 3] in 0..1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = (clip[len(clip) // 2].clamp(0, 1) * 255).round().to(torch.uint8)
    Image.fromarray(frame.numpy()).save(path)


def draw_strip(folder: Path, path: Path, rows: Sequence[Refiner], numbers: Sequence[int]) -> None:
    """The middle frames of some clips side by side, a row for each refiner."""
    frames = [
        np.concatenate([np.asarray(Image.open(folder / f"{n:04d}-{row.name}.png")) for n in numbers], axis=1)
        for row in rows
    ]
    Image.fromarray(np.concatenate(frames)).save(path, optimize=True)


def summarize(scores: dict[str, list[Scores]]) -> list[dict[str, object]]:
    """A row for each refiner: means, and 95 % intervals of what is claimed."""
    rows = []
    for refiner in REFINERS:
        found, of_teacher = scores[refiner.name], scores[TEACHER.name]
        ratios = [a["edges"] / b["edges"] for a, b in zip(found, of_teacher, strict=True)]
        row = {"name": refiner.name, "passes": refiner.passes, "edges": mean([s["edges"] for s in found])}
        row |= {"ratio": mean(ratios), "ratio_interval": interval_of_mean(ratios)}
        row |= {"low_frequency": mean([s["low_frequency"] for s in found])}
        for name in JUDGED:
            right = int(sum(s[name] for s in found))
            row |= {name: right / len(found), f"{name}_interval": compute_wilson(right, len(found))}
        rows.append(row)
    return rows


def mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def interval_of_mean(values: Sequence[float]) -> tuple[float, float]:
    """95 %, by the normal distribution."""
    half = 1.96 * float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return mean(values) - half, mean(values) + half


def format_rows(rows: Sequence[dict]) -> str:
    """The table of a summary."""

    def percent(row: dict, name: str) -> str:
        low, high = row[f"{name}_interval"]
        return f"{100 * row[name]:.1f} % ({100 * low:.1f}-{100 * high:.1f})"

    head = ["", "passes", "edge sharpness", "of the teacher's", *JUDGED, "low frequencies"]
    cells = []
    for row in rows:
        shares = [percent(row, name) for name in ("ratio", *JUDGED)]
        cells.append([row["name"], row["passes"] or "", f"{row['edges']:.3f}", *shares, f"{row['low_frequency']:.3f}"])
    return format_table(head, cells)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--lora", type=Path, help="measure this one instead of training")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--drafts", type=int, default=16)
    parser.add_argument("--middle", type=parse_size, default=(256, 384), metavar="HEIGHTxWIDTH")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--edges", type=float, default=1.0)
    parser.add_argument("--strength", type=float, default=1.3, help="of the LoRA: what it learnt, carried on a little")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    lora = args.lora or train_student(args)
    scores = measure(args.folder, lora, args.drafts, args.middle)
    rows = summarize(scores)
    draw_strip(
        args.folder / "scores", args.folder / "strip.png", (REFINERS[0], TEACHER, REFINERS[3], STUDENT), range(4)
    )
    (args.folder / "result.json").write_text(json.dumps(rows, indent=1) + "\n")
    print(format_rows(rows))
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
