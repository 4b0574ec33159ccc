"""The command `info`: what files are, and with --plan the memory that a run takes."""

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..checkpoint import holds_fp8, open_weights
from ..components import read_component_configs
from ..config import STAGE1, STAGE2, VAE
from ..device import pick_device, pick_dtype
from ..errors import InputError
from ..memory import describe_guidance, describe_split, free_memory, plan_run
from ..settings import DraftSettings, RefineSettings
from .components import DTYPES
from .describe import describe_file
from .options import DRAFT, REFINE, ComponentOptions, NamedSettings, named_settings, parse_options
from .progress import Reporter
from .tables import Facts, fact_lines, format_bytes


@dataclass(frozen=True)
class PlanOptions:
    """The run whose memory is asked for: settings as far as they are named."""

    draft: NamedSettings
    refine: NamedSettings
    components: ComponentOptions


def run(args: argparse.Namespace, reporter: Reporter) -> None:
    options = PlanOptions(
        named_settings(args, DRAFT), named_settings(args, REFINE), parse_options(ComponentOptions, args)
    )
    info(args.files, options if args.plan else None, reporter)


def info(files: list[str], plan_options: PlanOptions | None, reporter: Reporter) -> None:
    if not files and plan_options is None:
        raise InputError("name a file, or --plan for the memory plan")
    facts = {name: describe_file(Path(name)) for name in files}
    result: Facts = {"files": facts}
    lines = [line for name, found in facts.items() for line in fact_lines(name, found)]
    if plan_options is not None:
        result["plan"] = plan_memory(plan_options)
        lines += plan_lines(result["plan"])
    reporter.finish(result, lines)


def plan_memory(options: PlanOptions) -> Facts:
    """Memory of each phase for the sizes given: of the weights named, else of the released ones."""
    files = {name: path for name, path in options.components.named_files().items() if name not in ("text", "lora")}
    configs = {"stage1": STAGE1, "stage2": STAGE2, "vae": VAE} | read_component_configs(files)
    device = pick_device(options.components.device)
    dtype = DTYPES[options.components.dtype] if options.components.dtype else pick_dtype(device)
    draft = DraftSettings.from_defaults(configs["stage1"].defaults, **options.draft)
    refine = RefineSettings.from_defaults(configs["stage2"].defaults, **options.refine)
    free = free_memory(device)
    stages = {name: path for name, path in files.items() if name != "vae"}
    fp8 = [name for name, path in stages.items() if holds_fp8(open_weights(path, "transformer"))]
    clip = (draft.frames, *draft.size)
    plan = plan_run(configs, clip, refine.size, dtype, device, free, fp8, refine.latent_windows)
    phases = [phase.to_json() for phase in plan]
    return {"device": str(device), "dtype": str(dtype).removeprefix("torch."), "free": free, "phases": phases}


def plan_lines(plan: Facts) -> Iterable[str]:
    yield f"memory plan on {plan['device']} in {plan['dtype']}, {format_bytes(plan['free'])} free (estimates)"
    for phase in plan["phases"]:
        size = f"{phase['frames']}x{phase['height']}x{phase['width']}"
        peak = f"{format_bytes(phase['weights'])} weights + {format_bytes(phase['work'])} work"
        yield f"  {phase['phase']:<13}{size:<15}{peak:<36}{describe_phase(phase)}"


def describe_phase(phase: Facts) -> str:
    """What goes through at once."""
    if "tokens" not in phase:
        return describe_split(phase["cut"])
    return describe_guidance(phase["tokens"], phase["branches"], phase.get("windows", 1))
