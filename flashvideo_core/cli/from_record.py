"""`generate --from`: the options of an earlier clip, below those that the command line names anew."""

import os
from dataclasses import replace
from pathlib import Path

import torch

from ..components import EMBEDDED, TINY
from ..errors import InputError
from ..setting_rules import AXES
from ..types import Notify
from .jobs import ClipOptions
from .options import ComponentOptions, NamedSettings, OutputOptions
from .record import Record, WeightsHash, this_software

MAX_THREADS_PER_CORE = 16  # more make a run slow, and very many cannot be started at all


def add_record(options: ClipOptions, record: Record) -> ClipOptions:
    """The options, with the record's value for each that is not named. Raises InputError."""
    if record.source:
        file = record.source["file"]
        raise InputError(f"that clip was refined from {file}; repeat it with: refine {file} --prompt ...")
    if options.prompts.prompts is not None:
        raise InputError("give --from or --prompts, not both")
    components = options.components
    return replace(
        options,
        prompts=replace(options.prompts, prompt=options.prompts.prompt or record.prompt),
        draft=record.draft.to_json() | options.draft,
        refine=refine_settings(record, options.draft, options.refine) | options.refine,
        components=replace(
            components,
            device=components.device or record.device,
            dtype=components.dtype or record.dtype,
            attention=components.attention or record.attention,
            decode=components.decode or ("fast" if "decoder" in record.weights else None),
        ),
        output=recorded_output(record, options.output),
    )


def recorded_output(record: Record, named: OutputOptions) -> OutputOptions:
    """Codec, depth and quality of the record where they are not named; of another codec all is named or its default."""
    codec = record.video.codec.name
    if named.codec not in (None, codec):
        return named
    depth = record.video.bit_depth if named.bit_depth is None else named.bit_depth
    return replace(named, codec=codec, bit_depth=depth, crf=record.crf if named.crf is None else named.crf)


def refine_settings(record: Record, of_draft: NamedSettings, of_refine: NamedSettings) -> NamedSettings:
    """Stage 2's numbers of the record, without seed and negative prompt where they are to follow the draft's, and
    without numbers of windows that are named to be off."""
    settings = record.refine.to_json()
    if record.refine.seed == record.draft.seed:
        del settings["seed"]
    if record.refine.negative == record.draft.negative or "negative" in of_draft:
        del settings["negative"]
    windows = of_refine.get("windows", record.refine.windows)
    for name in [name for name in settings if name.startswith(AXES) and name.split("_")[0] not in windows]:
        del settings[name]
    return settings


def recorded_files(record: Record) -> dict[str, Path]:
    """Where the record's clip had its components from, as far as it tells."""
    paths = {name: Path(path) for name, path in (record.paths or {}).items()}
    embedded = [name for name, known in record.weights.items() if known.get("file") == EMBEDDED]
    return paths | {name: TINY / f"{name}.safetensors" for name in embedded}


def recorded_kernel(record: Record, options: ComponentOptions) -> str | None:
    """The record's attention kernel, unless another attention is named."""
    return record.kernel if options.attention in (None, record.attention) else None


def check_same_weights(record: Record, hashes: dict[str, WeightsHash], named: set[str]) -> None:
    """Raises InputError when a component that was not named anew is not what the record says."""
    for name, known in record.weights.items():
        if name not in named and hashes.get(name) != known:
            raise InputError(f"{name} has changed since the clip was made; name the weights to use with --{name}")


def repeat_threads(record: Record, notify: Notify) -> None:
    """Sums are formed in the order that the number of threads gives, so that is repeated, too."""
    now, was = this_software(), record.software
    if was["threads"] > MAX_THREADS_PER_CORE * (os.cpu_count() or 1):
        notify(f"the clip was made with {was['threads']} threads, too many for this machine: last bits may differ")
    elif record.device == "cpu" and was["threads"] != now["threads"]:
        torch.set_num_threads(was["threads"])
    if was["torch"] != now["torch"]:
        notify(f"the clip was made with torch {was['torch']}, this is {now['torch']}: last bits may differ")
