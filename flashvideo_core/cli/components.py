"""What every command that samples needs first: the parts, their configs and hashes, device, dtype, checks."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from ..components import (
    PARTS,
    Pipeline,
    component_files,
    load_pipeline,
    pick_device,
    pick_dtype,
    read_component_configs,
)
from ..errors import InputError
from ..kernels import choose_attention
from .record import recorded_path, weight_hashes

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
DTYPES |= {"fp32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
TEXT_OPTIONS = ("t5", "embeddings", "text")
CRF, MAX_CRF = 17, 51


@dataclass(frozen=True)
class Parts:
    """Files, configs (not of text) and hashes by part; nothing is loaded yet."""

    files: dict[str, Path]
    configs: dict
    weights: dict[str, dict]
    device: torch.device
    dtype: torch.dtype
    attention: Callable

    def load(self, callback: Callable) -> Pipeline:
        pipe = load_pipeline(**self.files, device=self.device, dtype=self.dtype, attention=self.attention)
        callback("load", 1, 1, None)
        return pipe


def find_parts(args: argparse.Namespace, needed: tuple[str, ...], record: dict | None, note: Callable) -> Parts:
    """The needed parts: as named, as in the record, or (when none is named) embedded. Raises ValueError."""
    device = pick_device(args.device)
    files = given_parts(args)
    if record:
        files = {name: files.get(name) or recorded_path(record, name) for name in needed}
    files = {name: path for name, path in component_files(**files).items() if name in needed}
    for name in needed:
        if name not in files:
            option = "--t5 or --embeddings" if name == "text" else f"--{name}"
            raise InputError(f"{name} is not given; name it with {option} (or name no part, for the embedded model)")
    configs = read_component_configs(files)
    dtype = DTYPES[args.dtype] if args.dtype else pick_dtype(device)
    attention = choose_attention(getattr(args, "attention", None) or "auto", device, dtype)
    return Parts(files, configs, weight_hashes(files, note), device, dtype, attention)


def given_parts(args: argparse.Namespace) -> dict[str, str]:
    """The parts that the command line names."""
    texts = [value for name in TEXT_OPTIONS if (value := getattr(args, name)) is not None]
    if len(texts) > 1:
        raise InputError("give one of --t5, --embeddings and --text, not several")
    given = {name: getattr(args, name, None) for name in PARTS} | {"text": texts[0] if texts else None}
    if args.embeddings and getattr(args, "negative", None):
        raise InputError("a negative prompt needs a text encoder; with --embeddings there is none")
    return {name: path for name, path in given.items() if path is not None}


@contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """Ctrl-C in here says how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"the same command goes on from the last state in {folder}") from None


def crf_of(args: argparse.Namespace) -> float:
    crf = CRF if args.crf is None else args.crf
    if not 0 <= crf <= MAX_CRF:
        raise InputError(f"crf is {crf:g}; it must be 0 (lossless) to {MAX_CRF}")
    return crf


def say_floored(asked: dict[str, int | None], used: dict, note: Callable[[str], None]) -> None:
    for name, value in asked.items():
        if value is not None and value != used[name]:
            note(f"{name} {value} is floored to {used[name]}, a multiple of 16")
