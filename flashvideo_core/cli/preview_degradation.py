"""The command `train preview-degradation`: a picture of clips and of what stage 2 sees of them in training."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch

from ..config import STAGE2
from ..errors import InputError
from ..training.contact_sheet import write_contact_sheet
from ..training.data import find_sources
from ..training.degradation import Degradation, make_degraded_draft, make_draft
from ..training.options import TrainingOptions, resolve_options
from ..training.spans import find_spans, read_span
from ..weights.atomic import check_writable
from .progress import Reporter


@dataclass(frozen=True)
class PreviewOptions:
    """clips: how many are shown, each with so many variants of a degraded draft."""

    data: Path
    out: Path
    clips: int
    variants: int
    training: TrainingOptions


def run(args: argparse.Namespace, reporter: Reporter) -> None:
    training = resolve_options(STAGE2, size=args.size, frames=args.frames, fps=args.fps, seed=args.seed)
    options = PreviewOptions(Path(args.data), Path(args.out), args.clips, args.variants, training)
    preview_degradation(options, reporter)


def preview_degradation(options: PreviewOptions, reporter: Reporter) -> None:
    """A contact sheet: above each draft as it is, below as stage 2 sees it in training; first and last frame."""
    check_options(options)
    training = options.training
    sources, skipped = find_sources(options.data)
    spans, unfit = find_spans(sources, size=training.size, frames=training.frames, fps=training.fps)
    for skip in [*skipped, *unfit]:
        reporter.note(str(skip))
    if not spans:
        raise InputError(f"{options.data} holds no clip that can be shown; the notes above say why")
    moving = [span for span in spans if len(span.frames) > 1] or spans
    shown, pairs = moving[: options.clips], []
    for number, span in enumerate(shown, 1):
        pairs += degrade_clip(read_span(span, training.size), training, options.variants, number)
        reporter.progress("degradation", number, len(shown))
    write_contact_sheet(pairs, options.out, columns=options.variants)
    reporter.finish({"file": str(options.out), "clips": len(shown)}, [str(options.out)])


def check_options(options: PreviewOptions) -> None:
    """Raises InputError before any clip is read."""
    if options.out.suffix.lower() != ".png":
        raise InputError(f"{options.out} must end in .png")
    check_writable(options.out.parent)
    for name in ("clips", "variants"):
        if getattr(options, name) < 1:
            raise InputError(f"{name} is {getattr(options, name)}; it must be at least 1")


def degrade_clip(
    clip: torch.Tensor, training: TrainingOptions, variants: int, number: int
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(draft, degraded draft) [3, F, h, w] for each variant of a clip [3, F, H, W] in -1..1."""
    seeds = [(training.seed * 1000 + number) * 1000 + variant for variant in range(variants)]
    size = training.draft_size
    return [(make_draft(clip, size), make_degraded_draft(clip, size, Degradation(), seed)) for seed in seeds]
