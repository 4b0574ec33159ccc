"""The command `generate`: one prompt, or a file of prompts, into finished clips."""

import argparse

from ..components import COMPONENTS
from .attention_options import named_refine
from .batch import make_jobs
from .from_record import add_record, check_same_weights, recorded_files, recorded_kernel, repeat_threads
from .jobs import ClipOptions, list_jobs
from .makers import open_makers
from .many_options import ManyOptions
from .options import DRAFT, ComponentOptions, OutputOptions, PromptOptions, named_settings, parse_options
from .progress import Reporter
from .prompts import read_prompts
from .record import Record, read_record


def run(args: argparse.Namespace, reporter: Reporter) -> None:
    earlier = read_record(args.recorded) if args.recorded else None
    draft, refine = named_settings(args, DRAFT), named_refine(args, bool(earlier and earlier.refine.window))
    options = ClipOptions(
        parse_options(PromptOptions, args),
        draft,
        {"negative": draft["negative"]} | refine if "negative" in draft else refine,
        parse_options(ComponentOptions, args),
        parse_options(OutputOptions, args),
        args.layout,
        parse_options(ManyOptions, args),
    )
    generate(options, earlier, reporter)


def generate(options: ClipOptions, earlier: Record | None, reporter: Reporter) -> None:
    """Drafts and refined clips of all prompts; those that are finished already are left as they are."""
    named, kernel = set(options.components.named_files()), None
    named |= {"decoder"} if options.components.decode == "whole" else set()
    if earlier:
        kernel = recorded_kernel(earlier, options.components)
        options = add_record(options, earlier)
    prompts = read_prompts(options.prompts, options.components.embeddings)
    options.components.check_negative(options.draft.get("negative") or options.refine.get("negative"))
    fallback = recorded_files(earlier) if earlier else None
    with open_makers(options.many, options.components, reporter) as makers:
        components = makers.find_components(COMPONENTS, fallback, kernel)
        if earlier:
            check_same_weights(earlier, components.hashes, named)
            repeat_threads(earlier, reporter.note)
        jobs = list_jobs(options, prompts, components, earlier, reporter.note)
        clips = make_jobs(jobs, components, makers, options.many.shard, reporter)
    reporter.finish({"clips": clips})
