"""The command `convert`: weights of any known layout, written as safetensors."""

import argparse

from ..convert import convert
from ..errors import InputError
from .progress import Reporter
from .tables import format_bytes


def run(args: argparse.Namespace, reporter: Reporter) -> None:
    if args.lora_strength is not None and args.lora is None:
        raise InputError("--lora-strength is for a LoRA: name one with --lora")
    strength = 1.0 if args.lora_strength is None else args.lora_strength
    summary = convert(args.source, args.target, args.dtype, reporter.progress, args.lora, strength)
    size = f"{summary['tensors']} tensors, {format_bytes(summary['bytes'])}"
    reporter.finish(summary, [f"{summary['target']}: {size}, dtype {summary['dtype']}"])
