"""The command `draft`: drafts of one prompt, or of a file of prompts, to choose from; `refine` goes on from one."""

import argparse

from .components import find_components
from .jobs import ClipOptions, check_folders, list_jobs, make_draft, note_number, report_clip
from .options import DRAFT, ComponentOptions, OutputOptions, PromptOptions, named_settings, parse_options
from .outputs import find_draft
from .progress import Reporter
from .prompts import read_prompts


def run(args: argparse.Namespace, reporter: Reporter) -> None:
    options = ClipOptions(
        parse_options(PromptOptions, args),
        named_settings(args, DRAFT),
        {},
        parse_options(ComponentOptions, args),
        parse_options(OutputOptions, args),
    )
    draft(options, reporter)


def draft(options: ClipOptions, reporter: Reporter) -> None:
    """Drafts of all prompts; those that are finished already are left as they are."""
    prompts = read_prompts(options.prompts, options.components.embeddings)
    options.components.check_negative(options.draft.get("negative"))
    components = find_components(options.components, ("stage1", "vae", "text"), reporter.note)
    jobs = list_jobs(options, prompts, components, None, reporter.note)
    check_folders(jobs)
    pipe, drafts = None, []
    for number, job in enumerate(jobs, 1):
        skipped = job.files.draft_video.is_file() and find_draft(job.files, job.record) is not None
        if not skipped:
            note_number(job, number, len(jobs), reporter)
            pipe = pipe or components.load(reporter.progress)
            make_draft(pipe, job, reporter)
        drafts.append(report_clip(job.record.prompt, job.record.draft.seed, job.files.draft, skipped, reporter))
    reporter.finish({"drafts": drafts})
