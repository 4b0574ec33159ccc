"""A LoRA on a folder of clips of a colour that the embedded model has never seen: does it draw pink, and still move?

    python benchmarks/lora_demo.py --folder runs/pink [--steps 400] [--stage1 ... --vae ... --text ...]

Renders clips of pink shapes (captions without a colour), trains a LoRA of stage 1 on them through the command line,
merges it with `convert --lora`, and draws the same held-out prompts with the same seeds without and with it. Prints a
table and writes result.json. Everything in the folder is kept and used again: the same command goes on.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from flashvideo_core.cli import main as flashvideo
from flashvideo_core.pipeline import draft, load_pipeline
from flashvideo_core.training.captions import caption
from flashvideo_core.training.detectors import detect
from flashvideo_core.training.measure import JUDGED, Asked, held_out, rendered
from flashvideo_core.training.world import COLOR_RGB, Scene, sample_scene
from flashvideo_core.video import write_video

PINK = (255, 90, 170)
SIZE, FRAMES = (128, 192), 17  # of the clips on disk; training reduces them to the draft's size
PARTS = ("stage1", "stage2", "vae", "text")


def pink_clip(scene: Scene) -> Tensor:
    """The scene in PINK, [F, H, W, 3] in 0..1. Two renderings that differ only in their colour tell how much light
    of the shape is in each pixel, so edges and textures stay as they are."""
    one, two = (rendered(replace(scene, color=name), SIZE, FRAMES) for name in ("red", "cyan"))
    red, cyan, pink = (torch.tensor(rgb) / 255 for rgb in (COLOR_RGB["red"], COLOR_RGB["cyan"], PINK))
    light = ((two - one) @ (cyan - red) / (cyan - red).square().sum())[..., None]
    return (one + light * (pink - red)).clamp(0, 1)


def write_clips(folder: Path, count: int) -> None:
    """Scenes of the training world, said without a colour."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        path = folder / f"{i:04d}.mp4"
        if not path.exists():
            rng = np.random.default_rng([20251122, i])
            scene = sample_scene(rng)
            path.with_suffix(".txt").write_text(colourless(scene, rng))
            write_video(path, pink_clip(scene), 8, crf=10)


def colourless(scene: Scene, rng: np.random.Generator) -> str:
    while True:
        text, mentioned = caption(scene, rng)
        if "color" not in mentioned and {"shape", "motion"} <= mentioned.keys():
            return text


def prompts(count: int) -> list[Asked]:
    """Held-out scenes (measure.py), said without a colour."""
    rng = np.random.default_rng([20251123])
    return [Asked(asked.scene, colourless(asked.scene, rng)) for asked in held_out(count, seed=1)]


def score(pipe, asked: Sequence[Asked]) -> dict:
    """Shares of the drafts: a shape is seen, pink, as asked in shape and motion; and the mean distance to pink."""
    rows = []
    for number, a in enumerate(asked):
        clip = draft(pipe, a.prompt, seed=number).frames
        seen, rgb = detect(clip), shape_colour(clip)
        right = {name: float(getattr(seen, name) == getattr(a.scene, name)) for name in JUDGED if name != "color"}
        rows.append({"seen": float(seen.shape is not None), "pink": float(nearest(rgb) == "pink"), **right})
        rows[-1]["distance"] = float((rgb - torch.tensor(PINK) / 255).norm())
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def shape_colour(clip: Tensor) -> Tensor:
    """Mean colour [3] of the pixels that stand out most from the clip's median picture and its own mean."""
    away = (clip - clip.median(0).values.flatten(0, 1).median(0).values).square().sum(-1)
    strongest = away.flatten().topk(max(1, away.numel() // 50)).indices
    return clip.reshape(-1, 3)[strongest].mean(0)


def nearest(rgb: Tensor) -> str:
    """The name of the nearest colour at full brightness, pink among them."""
    names = {name: torch.tensor(value) / max(value) for name, value in (COLOR_RGB | {"pink": PINK}).items()}
    seen = rgb / rgb.max().clamp_min(1e-3)
    return min(names, key=lambda name: float((names[name] - seen).square().sum()))


def train(args: argparse.Namespace) -> Path:
    given = [word for name in PARTS if getattr(args, name) for word in (f"--{name}", getattr(args, name))]
    numbers = {"rank": args.rank, "steps": args.steps, "lr": args.lr, "batch": args.batch, "save-every": 100}
    how = [word for name, value in numbers.items() for word in (f"--{name}", str(value))]
    places = ["--data", str(args.folder / "clips"), "--folder", str(args.folder / "run"), "--sample-every", "0"]
    if flashvideo(["train", "stage1", *places, *how, *given, "--device", "cpu"]):
        raise SystemExit("training failed")
    merged = args.folder / "stage1-pink.safetensors"
    source = args.stage1 or str(Path(__file__).parents[1] / "flashvideo_core/tiny/stage1.safetensors")
    if flashvideo(["convert", source, str(merged), "--lora", str(args.folder / "run/lora.safetensors")]):
        raise SystemExit("the LoRA could not be merged")
    return merged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=48)
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=2e-3)
    for name in PARTS:
        parser.add_argument(f"--{name}")
    args = parser.parse_args()
    write_clips(args.folder / "clips", args.clips)
    merged = train(args)
    files = {name: getattr(args, name) for name in PARTS}
    without = load_pipeline(**files, device="cpu")
    if not any(files.values()):
        files = {name: without.files[name] for name in PARTS}
    asked = prompts(args.prompts)
    result = {
        "without": score(without, asked),
        "with": score(load_pipeline(**files | {"stage1": merged}, device="cpu"), asked),
    }
    (args.folder / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    print(f"| {args.prompts} held-out prompts | " + " | ".join(result["with"]) + " |")
    print("|---" * (1 + len(result["with"])) + "|")
    for name, row in result.items():
        print(f"| {name} the LoRA | " + " | ".join(f"{value:.2f}" for value in row.values()) + " |")


if __name__ == "__main__":
    main()
