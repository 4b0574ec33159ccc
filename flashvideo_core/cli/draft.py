"""The command `draft`: drafts of one prompt, or of a file of prompts, to choose from; `refine` goes on from one.

Several drafts get a page on which they are looked at and chosen.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .batch import make_jobs
from .jobs import DEFAULT_FOLDER, ClipOptions, list_jobs
from .makers import open_makers
from .many_options import ManyOptions
from .options import DRAFT, ComponentOptions, OutputOptions, PromptOptions, named_settings, parse_options
from .progress import Reporter
from .prompts import read_prompts
from .review_page import write_page


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
        with writing_page(options, reporter):
            drafts = make_jobs(jobs, components, makers, options.many.shard, reporter)
    reporter.finish({"drafts": drafts})


@contextmanager
def writing_page(options: ClipOptions, reporter: Reporter) -> Iterator[None]:
    """At the end, after Ctrl-C too, the page of all drafts that lie in the output folder by then."""
    try:
        yield
    except KeyboardInterrupt:
        show_page(options, reporter)
        raise
    show_page(options, reporter)


def show_page(options: ClipOptions, reporter: Reporter) -> None:
    if not options.prompts.are_many:
        return
    page = write_page(Path(options.output.output or DEFAULT_FOLDER), reporter.note)
    if page is not None:
        reporter.note(f"look at the drafts and choose: {page}")
