"""The making of a clip: its draft, stage 2, and the files. What is finished is on disk before the next is tried."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TypedDict

from torch import Tensor

from ..errors import WriteError, one_line
from ..media.audio import Audio
from ..memory.exhausted import PhaseOutOfMemoryError, is_out_of_memory, name_phase
from ..phases import decode_draft, sample_draft, sample_refine
from ..pipeline import Draft, Pipeline
from ..plans import RefinePlan
from ..sampling_state import OnSampling, SamplingState
from .clip_writer import remove_temporary, write_clip
from .jobs import Job
from .outputs import find_draft, find_refined, write_draft, write_draft_video, write_refined
from .progress import Reporter
from .state_file import StateFile


class StateOptions(TypedDict):
    """What `sample_draft` and `sample_refine` take to be gone on with."""

    resume: SamplingState | None
    on_state: OnSampling | None


def make_clip(pipe: Pipeline, job: Job, paths: dict[str, str], reporter: Reporter) -> None:
    """The draft is on disk before stage 2 begins; Ctrl-C then leaves it there for the next run."""
    d = resume_draft(pipe, job, reporter) or make_draft(pipe, job, reporter)
    with keeping(f"the finished draft is kept in {job.files.draft}"):
        make_refined(pipe, d, replace(job, record=replace(job.record, draft_plan=d.plan)), paths, reporter)


def make_refined(
    pipe: Pipeline, d: Draft, job: Job, paths: dict[str, str], reporter: Reporter, audio: Audio | None = None
) -> None:
    """Stage 2 and all that is written of a clip. Its latent is on disk before it is decoded, unless `job.resume` says
    that nothing is to be kept."""
    found = find_refined(job.files, job.record) if job.resume else None
    if found is not None:
        reporter.note(f"going on from the refined latent {job.files.refined}")
    latent, plan = found or refine_draft(pipe, d, job, reporter)
    job = replace(job, record=replace(job.record, refine_plan=plan))
    if not job.resume:
        try:
            write_clip(pipe, d, latent, job, paths, reporter, audio)
        finally:
            remove_temporary(job)
        return
    if found is None:
        write_refined(job.files, latent, job.record)
        job.files.state.unlink(missing_ok=True)
    with keeping(f"the refined latent is kept in {job.files.refined}, and the same command goes on from it"):
        write_clip(pipe, d, latent, job, paths, reporter, audio)


def refine_draft(pipe: Pipeline, d: Draft, job: Job, reporter: Reporter) -> tuple[Tensor, RefinePlan]:
    """Stage 2, gone on with where it was stopped."""
    states = StateFile(job.files.state, job.record, "stage2")
    run = find_state(states, job, job.record.refine.steps, reporter)
    return sample_refine(pipe, d, job.record.refine, plan=job.record.refine_plan, callback=reporter.progress, **run)


def make_draft(pipe: Pipeline, job: Job, reporter: Reporter) -> Draft:
    """The latent is on disk before it is decoded. Stage 1 is gone on with where it was stopped."""
    record = job.record
    states = StateFile(job.files.state, record.of_draft(), "stage1")
    run = find_state(states, job, record.draft.steps, reporter)
    run |= {"plan": record.draft_plan, "callback": reporter.progress}
    latent, plan = sample_draft(pipe, record.prompt, record.draft, **run)
    record = replace(record, draft_plan=plan)
    write_draft(job.files, latent, record)
    job.files.state.unlink(missing_ok=True)
    with keeping(f"the finished draft is kept in {job.files.draft}"):
        d = decode_draft(pipe, record.prompt, latent, record.draft, plan, callback=reporter.progress)
        write_draft_video(job.files, d, record)
    return d


def find_state(states: StateFile, job: Job, steps: int, reporter: Reporter) -> StateOptions:
    """What sampling goes on from and keeps its states with."""
    if not job.resume:
        return {"resume": None, "on_state": None}
    found = states.find()
    if found is not None:
        reporter.note(f"going on from evaluation {found.solver.step} of {steps} in {states.path}")
    return {"resume": found, "on_state": states.keep}


@contextmanager
def keeping(what: str) -> Iterator[None]:
    """Ctrl-C, out of memory and a full disk in here say what is on disk; of several that are nested, the innermost."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(str(stop) or what) from None
    except WriteError as error:
        raise error if error.kept else WriteError(one_line(error), what) from None
    except Exception as error:
        if not is_out_of_memory(error) or getattr(error, "kept", ""):
            raise
        raise PhaseOutOfMemoryError(one_line(error), what) from error


def resume_draft(pipe: Pipeline, job: Job, reporter: Reporter) -> Draft | None:
    """This very draft from an earlier run that was stopped before its end."""
    saved = find_draft(job.files, job.record)
    if saved is None:
        return None
    reporter.note(f"going on from the finished draft {job.files.draft}")
    with keeping(f"the finished draft is kept in {job.files.draft}"), name_phase("draft_decode"):
        d = saved.decode(pipe, reporter.progress)
        if job.files.draft_video is not None and not job.files.draft_video.is_file():
            write_draft_video(job.files, d, replace(job.record, draft_plan=d.plan))
    return d
