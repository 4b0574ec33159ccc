"""The command `draft`: drafts of one prompt, or of a file of prompts, to choose from; `refine` goes on from one."""

import argparse

from .batch import make_jobs
from .jobs import ClipOptions, list_jobs
from .makers import open_makers
from .many_options import ManyOptions
from .options import DRAFT, ComponentOptions, OutputOptions, PromptOptions, named_settings, parse_options
from .progress import Reporter
from .prompts import read_prompts


def run(args: argparse.Namespace, reporter: Reporter) -> None:
    options = ClipOptions(
        parse_options(PromptOptions, args),
        named_settings(args, DRAFT),
        {},
        parse_options(ComponentOptions, args),
        parse_options(OutputOptions, args),
        many=parse_options(ManyOptions, args),
    )
    draft(options, reporter)


def draft(options: ClipOptions, reporter: Reporter) -> None:
    """Drafts of all prompts; those that are finished already are left as they are."""
    prompts = read_prompts(options.prompts, options.components.embeddings)
    options.components.check_negative(options.draft.get("negative"))
    with open_makers(options.many, options.components, reporter) as makers:
        components = makers.find_components(("stage1", "vae", "text"))
        jobs = list_jobs(options, prompts, components, None, reporter.note)
        drafts = make_jobs(jobs, components, makers, options.many.shard, reporter)
    reporter.finish({"drafts": drafts})
