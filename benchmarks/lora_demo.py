"""A LoRA on a folder of clips of a colour that the embedded model has never seen: does it draw pink, and still move?

    python benchmarks/lora_demo.py --folder runs/pink [--steps 400] [--stage1 FILE --vae FILE --text FILE]

Renders clips of pink shapes (captions without a colour), trains a LoRA of stage 1 on them through the command line,
merges it with `convert --lora`, and draws the same held-out prompts with the same seeds without and with it. Prints a
Markdown table, and on the last line the same as JSON (also result.json); the drafts are in without/ and with/. Its
last row is the judge's own: the prompts' scenes, rendered in pink. Everything in the folder is kept and used again.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from flashvideo_core.cli.main import main as flashvideo
from flashvideo_core.components import Pipeline, component_files, load_pipeline
from flashvideo_core.markdown import format_percent, format_table
from flashvideo_core.media.video_writer import write_video
from flashvideo_core.pipeline import draft
from flashvideo_core.tiny.captions import caption
from flashvideo_core.tiny.detectors import detect
from flashvideo_core.tiny.held_out import HeldOutPrompt, sample_held_out
from flashvideo_core.tiny.scene import COLOR_RGB, Scene, sample_scene
from flashvideo_core.tiny.scores import average_scores, render_frames

PINK = (255, 90, 170)
COLORS = COLOR_RGB | {"pink": PINK}
SIZE, FRAMES, FPS = (128, 192), 17, 8  # of the clips on disk; training reduces them to the draft's size
COMPONENTS = ("stage1", "vae", "text")


@dataclass(frozen=True)
class Training:
    """The numbers of the LoRA and of its training."""

    rank: int
    steps: int
    batch: int
    lr: float


def render_pink(scene: Scene) -> Tensor:
    """The scene in PINK, [F, H, W, 3] in 0..1.

    Two renderings that differ only in their colour tell how much light of the shape is in each pixel, so edges and
    textures stay as they are.
    """
    one, two = (render_frames(replace(scene, color=name), SIZE, FRAMES) for name in ("red", "cyan"))
    red, cyan, pink = (torch.tensor(rgb) / 255 for rgb in (COLOR_RGB["red"], COLOR_RGB["cyan"], PINK))
    light = ((two - one) @ (cyan - red) / (cyan - red).square().sum())[..., None]
    return (one + light * (pink - red)).clamp(0, 1)


def write_clips(folder: Path, count: int) -> None:
    """Scenes of the training world, captions without a colour; what is there already stays."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        path = folder / f"{i:04d}.mp4"
        if not path.exists():
            rng = np.random.default_rng([20251122, i])
            scene = sample_scene(rng)
            path.with_suffix(".txt").write_text(caption_without_color(scene, rng))
            write_video(path, render_pink(scene), FPS, crf=10)


def caption_without_color(scene: Scene, rng: np.random.Generator) -> str:
    while True:
        text, mentioned = caption(scene, rng)
        if "color" not in mentioned and {"shape", "motion"} <= mentioned.keys():
            return text


def sample_prompts(count: int) -> list[HeldOutPrompt]:
    """Held-out scenes, said without a colour."""
    rng = np.random.default_rng([20251123])
    scenes = [prompt.scene for prompt in sample_held_out(count, seed=1)]
    return [HeldOutPrompt(scene, caption_without_color(scene, rng)) for scene in scenes]


def train_lora(folder: Path, files: dict[str, Path], training: Training) -> Path:
    """The file of stage 1 with the LoRA merged; trains as far as the folder has no LoRA."""
    options = {
        "data": folder / "clips",
        "folder": folder / "run",
        "sample-every": 0,
        "save-every": 100,
        **vars(training),
        **files,
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    run_command(["train", "stage1", "--device", "cpu", *words])
    merged = folder / "stage1-pink.safetensors"
    run_command(["convert", files["stage1"], merged, "--lora", folder / "run/lora.safetensors"])
    return merged


def run_command(words: Sequence[object]) -> None:
    if flashvideo([str(word) for word in words]):
        raise SystemExit(f"{words[0]} failed")


def make_drafts(pipe: Pipeline, prompts: Sequence[HeldOutPrompt], folder: Path) -> Iterator[Tensor]:
    """A draft of each prompt [F, H, W, 3] in 0..1, also written into the folder."""
    folder.mkdir(exist_ok=True)
    for number, prompt in enumerate(prompts):
        frames = draft(pipe, prompt.prompt, seed=number).frames
        write_video(folder / f"{number:04d}.mp4", frames, FPS)
        yield frames


def score_clips(prompts: Sequence[HeldOutPrompt], clips: Iterable[Tensor]) -> dict[str, float]:
    """Shares of the clips in which a shape is seen, is nearest to pink, and is as asked in shape and motion."""
    rows = []
    for prompt, clip in zip(prompts, clips, strict=True):
        seen = detect(clip, COLORS)
        right = {name: float(getattr(seen, name) == getattr(prompt.scene, name)) for name in ("shape", "motion")}
        rows.append({"seen": float(seen.shape is not None), "pink": float(seen.color == "pink"), **right})
    return average_scores(rows)


def parse_arguments() -> tuple[argparse.Namespace, dict[str, Path]]:
    """The arguments, and the files of the components."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=48)
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=2e-3)
    for name in COMPONENTS:
        parser.add_argument(f"--{name}")
    args = parser.parse_args()
    files = component_files(**{name: getattr(args, name) for name in COMPONENTS})
    if missing := [name for name in COMPONENTS if name not in files]:
        parser.error(f"--{missing[0]} is missing: name all components, or none for the embedded ones")
    return args, {name: files[name] for name in COMPONENTS}


def main() -> None:
    args, files = parse_arguments()
    write_clips(args.folder / "clips", args.clips)
    merged = train_lora(args.folder, files, Training(args.rank, args.steps, args.batch, args.lr))
    prompts = sample_prompts(args.prompts)
    result = {"clips": args.clips, "prompts": args.prompts, "steps": args.steps, "rank": args.rank}
    for name, stage1 in (("without", files["stage1"]), ("with", merged)):
        pipe = load_pipeline(**files | {"stage1": stage1}, device="cpu")
        result[name] = score_clips(prompts, make_drafts(pipe, prompts, args.folder / name))
    result["rendered"] = score_clips(prompts, (render_pink(prompt.scene) for prompt in prompts))
    (args.folder / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    rows = {"without": "without the LoRA", "with": "with the LoRA", "rendered": "rendered in pink"}
    cells = [[label, *map(format_percent, result[name].values())] for name, label in rows.items()]
    print(format_table([f"drafts of {args.prompts} held-out prompts", *result["with"]], cells))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
