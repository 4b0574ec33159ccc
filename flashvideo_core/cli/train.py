"""`train stage1`, `train stage2` and `train preview-degradation`: training on own clips."""

import argparse
from functools import partial
from pathlib import Path

import torch

from ..attention import attention, plain_attention
from ..checkpoint import open_weights
from ..config import STAGE1, STAGE2
from ..errors import InputError
from ..training.data import find_sources, find_spans, read_span
from ..training.degradation import Degradation, contact_sheet, degraded_draft, draft_of
from ..training.distributed import World, join
from ..training.finetune import finetune, trainable
from ..training.options import Options, options_for
from ..training.plan import measure, plan_lines
from ..training.precision import fast_bf16
from ..training.prepare import Place
from ..weights.atomic import check_writable
from .components import DTYPES, Parts, find_parts, given_parts, resumable
from .progress import Reporter

NUMBERS = (
    "mode",
    "rank",
    "alpha",
    "steps",
    "lr",
    "batch",
    "accumulate",
    "frames",
    "fps",
    "size",
    "curriculum",
    "patch",
)
NUMBERS += ("variants", "checkpointing", "save_every", "sample_every", "keep", "seed")


def train_stage(args: argparse.Namespace, reporter: Reporter) -> None:
    """Trains, or says what training takes; Ctrl-C keeps the last saved state."""
    if args.embeddings:
        raise InputError("--embeddings holds one prompt's; training reads many captions: give --t5 or --text")
    if args.plan and not given_parts(args):
        return say_plan_of_released(args, reporter)
    needed = (args.model,) if args.plan else (args.model, "vae", "text")
    parts = find_parts(args, needed, None, reporter.note)
    options = options_for(open_weights(parts.files[args.model]).config, **numbers_of(args))
    if args.plan:
        return say_plan(parts, options, reporter)
    for name in ("data", "folder"):
        if getattr(args, name) is None:
            raise InputError(f"--{name} is missing: training takes clips from --data and writes into --folder")
    folder = Path(args.folder)
    check_writable(folder)
    with resumable(folder), join(str(parts.device)) as world:
        cache = Path(args.cache) if args.cache else folder / "cache"
        result = train_in(world, Path(args.data), cache, folder, parts, options, reporter)
    if world.first:
        found = {"folder": str(folder), "file": str(result), "loss": str(folder / "loss.png")}
        reporter.finish(found, [str(result)])


def train_in(
    world: World, data: Path, cache: Path, folder: Path, parts: Parts, options: Options, reporter: Reporter
) -> Path:
    place = place_of(parts, torch.device(world.device))
    config = parts.configs[f"stage{options.stage}"]
    if world.first:
        for line in plan_lines(config, options, parts.dtype.itemsize, parts.device.type):
            reporter.note(line)
    return finetune(data, cache, folder, options, place, reporter.note, reporter.progress, world)


def place_of(parts: Parts, device: torch.device) -> Place:
    """Weights are known by their hashes alone: a file may be renamed."""
    hashes = {part: {k: v for k, v in known.items() if k != "file"} for part, known in parts.weights.items()}
    return Place(parts.files, hashes, device, parts.dtype)


def numbers_of(args: argparse.Namespace) -> dict:
    return {name: getattr(args, name, None) for name in NUMBERS}


def say_plan_of_released(args: argparse.Namespace, reporter: Reporter) -> None:
    """The arithmetic for the released sizes; without weights nothing can be measured."""
    config = {"stage1": STAGE1, "stage2": STAGE2}[args.model]
    options = options_for(config, **numbers_of(args))
    dtype = DTYPES[args.dtype] if args.dtype else torch.bfloat16
    lines = plan_lines(config, options, dtype.itemsize, "cuda")
    reporter.finish({"plan": lines}, [*lines, "  speed: not measured, since no weights are named"])


def say_plan(parts: Parts, options: Options, reporter: Reporter) -> None:
    """The arithmetic for the named weights, and three measured steps."""
    kind = parts.device.type
    place = place_of(parts, parts.device)
    lines = plan_lines(parts.configs[f"stage{options.stage}"], options, parts.dtype.itemsize, kind)
    model = trainable(options, place)
    network = partial(model, attention=plain_attention if kind == "cpu" else attention)
    seconds = measure(model, network, options, autocast=fast_bf16(kind))
    speed = f"{seconds:.2f} s a step on {kind}, {3600 / seconds:.0f} steps an hour (mean of 3)"
    reporter.finish({"plan": lines, "seconds_per_step": seconds}, [*lines, f"  speed: {speed}"])


def preview_degradation(args: argparse.Namespace, reporter: Reporter) -> None:
    """A contact sheet: above each draft as it is, below as stage 2 sees it in training; first and last frame."""
    out = Path(args.out)
    if out.suffix.lower() != ".png":
        raise InputError(f"{out} must end in .png")
    check_writable(out.parent)
    for name in ("clips", "variants"):
        if getattr(args, name) < 1:
            raise InputError(f"{name} is {getattr(args, name)}; it must be at least 1")
    options = options_for(STAGE2, size=args.size, frames=args.frames, fps=args.fps, seed=args.seed)
    sources, skipped = find_sources(args.data)
    spans, unfit = find_spans(sources, size=options.size, frames=options.frames, fps=options.fps)
    for skip in [*skipped, *unfit]:
        reporter.note(str(skip))
    if not spans:
        raise InputError(f"{args.data} holds no clip that can be shown; the notes above say why")
    moving = [span for span in spans if len(span.frames) > 1] or spans
    pairs = []
    for done, span in enumerate(moving[: args.clips], 1):
        pairs += degraded_pairs(read_span(span, options.size), options, args.variants, done)
        reporter.progress("degradation", done, len(moving[: args.clips]))
    contact_sheet(pairs, out, columns=args.variants)
    reporter.finish({"file": str(out), "clips": len(moving[: args.clips])}, [str(out)])


def degraded_pairs(clip: torch.Tensor, options: Options, variants: int, number: int) -> list:
    """(draft, degraded draft) for each variant of a clip."""
    seeds = [(options.seed * 1000 + number) * 1000 + variant for variant in range(variants)]
    size = options.draft_size
    return [(draft_of(clip, size), degraded_draft(clip, size, Degradation(), seed)) for seed in seeds]
