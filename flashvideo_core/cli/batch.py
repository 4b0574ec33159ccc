"""The clips of `generate`, `draft` and `vbench generate`: the shard's share of the jobs, each made once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ..memory.exhausted import name_phase
from ..phases import list_texts
from ..pipeline import Pipeline
from ..t5 import encode_ahead
from .components import Components
from .jobs import Job, MadeFields, check_files, report_made
from .making import make_clip, make_draft, resume_draft
from .outputs import find_draft, is_finished
from .phase_costs import count_draft, count_refine
from .progress import Reporter
from .record import Record
from .replacing import open_files, recover
from .shard import Shard
from .work import Made, Makers

TEXTS_AHEAD = 64  # clips, whose texts take up to 0.9 GB


@dataclass(frozen=True)
class JobWork:
    """Makes drafts, or drafts and refined clips, as the job's record says."""

    def prepare(self, pipes: Iterator[Pipeline], jobs: Sequence[Job], components: Components) -> Iterator[Pipeline]:
        """Texts are encoded for many clips at once."""
        for start in range(0, len(jobs), TEXTS_AHEAD):
            batch = jobs[start : start + TEXTS_AHEAD]
            pipe = next(pipes)
            texts = [text for job in batch for text in job_texts(job.record, components)]
            with name_phase("text"):
                ahead = replace(pipe, text=pipe.text and encode_ahead(pipe.text, texts))
            for _ in batch:
                yield ahead

    def make(self, pipes: Iterator[Pipeline], job: Job, components: Components, reporter: Reporter) -> Made:
        """Nothing where another process has made it since, as an actor that was lost before it could say so."""
        if not is_made(job):
            with open_files(job.files, job.record, reporter.note) as files:
                pipe, work = next(pipes), replace(job, files=files)
                reporter.expect(count_work(pipe, job.record))
                if job.is_draft:
                    resume_draft(pipe, work, reporter) or make_draft(pipe, work, reporter)
                else:
                    make_clip(pipe, work, components.paths, reporter)
        return job.as_made()


def make_jobs(
    jobs: Sequence[Job], components: Components, makers: Makers, shard: Shard, reporter: Reporter
) -> list[MadeFields]:
    """The shard's jobs, each reported when it is there, in the order of the list. What is finished is left as it is."""
    jobs = shard.take(jobs)
    if not jobs:
        reporter.note("there are fewer clips than shards: nothing to do for this one")
    for job in jobs:
        recover(job.files)
    unfinished = [number for number, job in enumerate(jobs) if not is_made(job)]
    check_files(jobs[number] for number in unfinished)
    made = makers.make_all(JobWork(), [jobs[number] for number in unfinished], components)
    fields, waiting = {}, set(unfinished)
    for number, job in enumerate(jobs):
        if number not in waiting:
            fields[number] = report_made(job.as_made(skipped=True), reporter)
            continue
        if makers.in_order and len(jobs) > 1:
            reporter.note(f"{number + 1} of {len(jobs)}: {job.record.prompt}")
        position, result = next(made)
        fields[unfinished[position]] = report_made(result, reporter)
    return [fields[number] for number in sorted(fields)]


def count_work(pipe: Pipeline, record: Record) -> dict[str, float]:
    """What the phases cost in which a job is made."""
    draft = count_draft(pipe, record.draft)
    return draft if record.refine is None else draft | count_refine(pipe, record.draft.frames, record.refine)


def is_made(job: Job) -> bool:
    """Whether this very clip or draft is there."""
    if job.is_draft:
        return job.files.draft_video.is_file() and find_draft(job.files, job.record) is not None
    return is_finished(job.files, job.record)


def job_texts(record: Record, components: Components) -> list[str]:
    texts = list_texts(components.configs["stage1"], record.prompt, record.draft.negative)
    if record.refine is None:
        return texts
    return texts + list_texts(components.configs["stage2"], record.prompt, record.refine.negative)
