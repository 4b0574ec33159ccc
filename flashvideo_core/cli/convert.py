"""The command `convert`: weights of any known layout, written as safetensors."""

import argparse

from ..convert import convert
from .progress import Reporter
from .tables import format_bytes


def run(args: argparse.Namespace, reporter: Reporter) -> None:
    summary = convert(args.source, args.target, args.dtype, reporter.progress, args.lora, args.lora_strength)
    size = f"{summary['tensors']} tensors, {format_bytes(summary['bytes'])}"
    reporter.finish(summary, [f"{summary['target']}: {size}, dtype {summary['dtype']}"])
