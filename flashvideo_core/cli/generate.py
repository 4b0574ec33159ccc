"""The command `generate`: one prompt, or a file of prompts, into finished clips."""

import argparse
from dataclasses import replace

from ..components import COMPONENTS
from .components import find_components
from .from_record import add_record, check_same_weights, recorded_files, recorded_kernel, repeat_threads
from .jobs import ClipOptions, check_files, list_jobs, load_pipelines, make_clip, note_number, report_clip
from .options import (
    DRAFT,
    REFINE,
    ComponentOptions,
    OutputOptions,
    PromptOptions,
    named_settings,
    parse_options,
)
from .outputs import is_finished
from .progress import Reporter
from .prompts import read_prompts
from .record import Record, read_record
from .replacing import open_files, recover


def run(args: argparse.Namespace, reporter: Reporter) -> None:
    earlier = read_record(args.recorded) if args.recorded else None
    draft, refine = named_settings(args, DRAFT), named_settings(args, REFINE)
    options = ClipOptions(
        parse_options(PromptOptions, args),
        draft,
        {"negative": draft["negative"]} | refine if "negative" in draft else refine,
        parse_options(ComponentOptions, args),
        parse_options(OutputOptions, args),
        args.layout,
    )
    generate(options, earlier, reporter)


def generate(options: ClipOptions, earlier: Record | None, reporter: Reporter) -> None:
    """Drafts and refined clips of all prompts; those that are finished already are left as they are."""
    named, kernel = set(options.components.named_files()), None
    if earlier:
        kernel = recorded_kernel(earlier, options.components)
        options = add_record(options, earlier)
    prompts = read_prompts(options.prompts, options.components.embeddings)
    options.components.check_negative(options.draft.get("negative") or options.refine.get("negative"))
    fallback = recorded_files(earlier) if earlier else None
    components = find_components(options.components, COMPONENTS, reporter.note, fallback, kernel)
    if earlier:
        check_same_weights(earlier, components.hashes, named)
        repeat_threads(earlier, reporter.note)
    jobs = list_jobs(options, prompts, components, earlier, reporter.note)
    for job in jobs:
        recover(job.files)
    finished = [is_finished(job.files, job.record) for job in jobs]
    unfinished = [job for job, skipped in zip(jobs, finished, strict=True) if not skipped]
    check_files(unfinished)
    pipelines, clips = load_pipelines(components, unfinished, reporter), []
    for number, (job, skipped) in enumerate(zip(jobs, finished, strict=True), 1):
        if not skipped:
            with open_files(job.files, job.record, reporter.note) as files:
                note_number(job, number, len(jobs), reporter)
                make_clip(next(pipelines), replace(job, files=files), components.paths, reporter)
        clips.append(report_clip(job.record.prompt, job.record.draft.seed, job.files.final, skipped, reporter))
    reporter.finish({"clips": clips})
