"""The commands that look at files: `convert` and `info`."""

import argparse
import math
from collections.abc import Iterable
from pathlib import Path

from ..checkpoint import Weights, open_weights, plan, skeleton, stored_dtype
from ..components import load_embeddings, pick_device, pick_dtype, read_component_configs
from ..config import STAGE1, STAGE2, VAE, TextConfig, TransformerConfig
from ..convert import convert
from ..errors import InputError
from ..media.draft_file import load_draft
from ..media.video_reader import probe_video
from ..memory import describe_split, free_memory, plan_run
from ..settings import draft_settings, refine_settings
from ..weights.keys import Recipe
from ..weights.reader import open_file
from .components import DTYPES, given_parts
from .progress import Reporter
from .record import read_record

LATENT, EMBEDDING = "latent_tensor", "stage1"  # names of tensors that tell a draft and embeddings from weights


def convert_file(args: argparse.Namespace, reporter: Reporter) -> None:
    summary = convert(args.source, args.target, args.dtype, reporter.progress, args.lora, args.lora_strength)
    size = f"{summary['tensors']} tensors, {in_bytes(summary['bytes'])}"
    reporter.finish(summary, [f"{summary['target']}: {size}, dtype {summary['dtype']}"])


def info(args: argparse.Namespace, reporter: Reporter) -> None:
    """What each file is; with --plan the memory that a run of these sizes takes."""
    if not args.files and not args.plan:
        raise InputError("name a file, or --plan for the memory plan")
    found = {name: describe(Path(name)) for name in args.files}
    result, lines = {"files": found}, [line for name, facts in found.items() for line in table(name, facts)]
    if args.plan:
        result["plan"] = plan_of(args)
        lines += plan_lines(result["plan"])
    reporter.finish(result, lines)


def describe(path: Path) -> dict:
    """What a file is, as JSON: weights, a draft, embeddings, a clip of ours or any video. Raises ValueError."""
    if path.is_dir() or path.suffix == ".json":
        return {"kind": "clip", **read_record(path)}
    if path.suffix == ".safetensors":
        names = open_file(path)[1]
        if LATENT in names:
            return describe_draft(path)
        if EMBEDDING in names:
            return {"kind": "embeddings", **{name: list(t.shape) for name, t in load_embeddings(path).items()}}
    if path.suffix.lower() in (".safetensors", ".pt", ".pth", ".ckpt", ".bin"):
        return describe_weights(open_weights(path))
    return describe_video(path)


def describe_weights(weights: Weights) -> dict:
    """The model, complete (a file with something missing is a ValueError), and how it is stored."""
    model, config = skeleton(weights), weights.config
    recipes = plan(weights, model)
    kinds = {TransformerConfig: f"transformer of stage {getattr(config, 'stage', '')}", TextConfig: "text encoder"}
    facts = {"kind": kinds.get(type(config), "VAE"), "origin": weights.origin}
    if isinstance(config, TransformerConfig):
        facts |= {"stage": config.stage, "layers": config.layers, "hidden": config.hidden, "heads": config.heads}
        facts |= {"text_dim": config.text_dim, "text_length": config.text_length, "time_dim": config.time_dim}
        facts |= {"latent_scale": config.latent_scale, "lora": lora(weights, recipes.values())}
        facts["defaults"] = vars(config.defaults)
    else:
        facts |= vars(config)
    facts["parameters"] = sum(parameter.numel() for parameter in model.parameters())
    facts["dtype"] = "fp8" if any(r.scale for r in recipes.values()) else str(stored_dtype(weights))[6:]
    facts["bytes"] = weights.path.stat().st_size
    return facts | {name: value for name, value in weights.metadata.items() if name == "source_sha256"}


def lora(weights: Weights, recipes: Iterable[Recipe]) -> str | None:
    adapted = [recipe.lora for recipe in recipes if recipe.lora]
    if not adapted:
        return None
    return f"rank {weights.shapes[adapted[0][0][0]][0]} on {len(adapted)} layers, merged when loaded"


def describe_draft(path: Path) -> dict:
    latent, record = load_draft(path)
    frames, height, width = (4 * latent.shape[2] - 3, *(8 * side for side in latent.shape[3:]))
    return {"kind": "draft", "frames": frames, "height": height, "width": width, **record}


def describe_video(path: Path) -> dict:
    found = probe_video(path)
    facts = {"kind": "video", "frames": found.frames, "height": found.height, "width": found.width}
    facts |= {"fps": float(found.fps), "sound": found.has_audio}
    try:
        return facts | read_record(path) | {"kind": "clip"}
    except ValueError:
        return facts


def plan_of(args: argparse.Namespace) -> dict:
    """Memory of each phase for the sizes given: of the weights named, else of the released ones."""
    configs = {"stage1": STAGE1, "stage2": STAGE2, "vae": VAE} | read_component_configs(without_text(given_parts(args)))
    device = pick_device(args.device)
    dtype = DTYPES[args.dtype] if args.dtype else pick_dtype(device)
    sides = {"frames": args.frames, "height": args.height, "width": args.width}
    stage1 = draft_settings(configs["stage1"].defaults, **sides)
    stage2 = refine_settings(configs["stage2"].defaults, size=args.size)
    free = free_memory(device)
    phases = plan_run(configs, stage1, stage2, dtype, device, free)
    return {"device": str(device), "dtype": str(dtype)[6:], "free": free, "phases": phases}


def without_text(files: dict[str, str]) -> dict[str, Path]:
    return {name: Path(path) for name, path in files.items() if name != "text"}


def plan_lines(plan: dict) -> Iterable[str]:
    yield f"memory plan on {plan['device']} in {plan['dtype']}, {in_bytes(plan['free'])} free (estimates)"
    for phase in plan["phases"]:
        size = f"{phase['frames']}x{phase['height']}x{phase['width']}"
        peak = f"{in_bytes(phase['weights'])} weights + {in_bytes(phase['work'])} work"
        how = branches_of(phase) if "tokens" in phase else describe_split(phase["cut"])
        yield f"  {phase['phase']:<13}{size:<15}{peak:<36}{how}"


def branches_of(phase: dict) -> str:
    return f"{phase['tokens']} tokens, guidance in {'one batch' if phase['branches'] == 2 else 'two passes'}"


def table(name: str, facts: dict) -> Iterable[str]:
    """The kind on the first line, then a fact a line."""
    yield f"{name}: {facts['kind']}"
    for key, value in facts.items():
        if key != "kind":
            yield f"  {key:<17}{shown(key, value)}"


def shown(key: str, value) -> str:
    if key == "bytes":
        return in_bytes(value)
    if key == "parameters":
        return f"{value:,}"
    if key == "weights":
        return ", ".join(f"{name} {part['file']} {short_hash(part)}" for name, part in value.items())
    if isinstance(value, dict):
        inner = {name: shown(name, item) for name, item in value.items() if item is not None}
        return ", ".join(f"{name} {text}" for name, text in inner.items() if text)
    if isinstance(value, list | tuple):
        return "x".join(str(item) for item in value)
    return "none" if value is None else str(value)


def short_hash(part: dict) -> str:
    return next(value for name, value in part.items() if name.endswith("sha256"))[:12]


def in_bytes(count: int) -> str:
    """1234567 -> 1.2 MB."""
    power = min(4, int(math.log(max(1, count), 1000)))
    return f"{count / 1000**power:.{0 if power == 0 else 1}f} {('bytes', 'kB', 'MB', 'GB', 'TB')[power]}"
