"""The command `draft`: drafts of one prompt, or of a file of prompts, to choose from; `refine` goes on from one."""

import argparse
from dataclasses import replace

from .components import find_components
from .jobs import (
    ClipOptions,
    check_files,
    list_jobs,
    load_pipelines,
    make_draft,
    note_number,
    report_clip,
    resume_draft,
)
from .options import DRAFT, ComponentOptions, OutputOptions, PromptOptions, named_settings, parse_options
from .outputs import find_draft
from .progress import Reporter
from .prompts import read_prompts
from .replacing import open_files, recover


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
    for job in jobs:
        recover(job.files)
    check_files(jobs)
    finished = [job.files.draft_video.is_file() and find_draft(job.files, job.record) is not None for job in jobs]
    unfinished = [job for job, skipped in zip(jobs, finished, strict=True) if not skipped]
    pipelines, drafts = load_pipelines(components, unfinished, reporter), []
    for number, (job, skipped) in enumerate(zip(jobs, finished, strict=True), 1):
        if not skipped:
            with open_files(job.files, job.record, reporter.note) as files:
                note_number(job, number, len(jobs), reporter)
                pipe, work = next(pipelines), replace(job, files=files)
                resume_draft(pipe, work, reporter) or make_draft(pipe, work, reporter)
        drafts.append(report_clip(job.record.prompt, job.record.draft.seed, job.files.draft, skipped, reporter))
    reporter.finish({"drafts": drafts})
