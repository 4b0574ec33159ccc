"""`generate --from`: the options of an earlier clip, below those that the command line names anew."""

import argparse

import torch

from ..errors import InputError
from .progress import Reporter
from .record import software

STAGE1 = ("negative", "frames", "height", "width", "steps", "cfg", "guidance")
STAGE2 = {"refine_steps": "steps", "refine_cfg": "cfg", "shift": "shift", "noise_step": "ref_step"}


def with_record(args: argparse.Namespace, record: dict) -> argparse.Namespace:
    """The options, with the record's value for each that is not given. Raises ValueError."""
    if "source" in record:
        source = record["source"]["file"]
        raise InputError(f"that clip was refined from {source}; repeat it with: refine {source} --prompt ...")
    if args.prompts is not None:
        raise InputError("give --from or --prompts, not both")
    try:
        old = options_of(record)
    except (KeyError, TypeError):
        raise InputError(f"{args.recorded} is incomplete: it lacks settings of the clip") from None
    new = {name: value for name, value in vars(args).items() if value is not None}
    return argparse.Namespace(**{**vars(args), **old, **new})


def options_of(record: dict) -> dict:
    """The record as options of the command line."""
    first, second = record["stage1"], record["stage2"]
    old = {name: first[name] for name in STAGE1} | {name: second[key] for name, key in STAGE2.items()}
    old |= {name: record[name] for name in ("prompt", "crf", "dtype", "device")}
    old |= {"attention": record.get("attention")}
    old |= {"seed": first["seed"], "size": (second["height"], second["width"])}
    return old if second["seed"] == first["seed"] else old | {"refine_seed": second["seed"]}


def old_tiles(record: dict | None, stage: str, new: dict | None) -> dict | None:
    """How that clip was tiled, if this one has its size: a seam elsewhere would change bits."""
    if not record or not new or any(record[stage][side] != new[side] for side in ("height", "width")):
        return None
    return record[stage].get("tiles")


def repeat_machine(record: dict, reporter: Reporter) -> None:
    """Sums are formed in the order that the number of threads gives, so that is repeated, too."""
    now = software()
    was = now | record.get("software", {})
    if record["device"] == "cpu" and was["threads"] != now["threads"]:
        torch.set_num_threads(was["threads"])
    if was["torch"] != now["torch"]:
        reporter.note(f"the clip was made with torch {was['torch']}, this is {now['torch']}: last bits may differ")
