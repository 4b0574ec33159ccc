"""The clips of `generate` and `draft`: what is asked for, every clip with all its numbers, and its making."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import InputError, WriteError, one_line
from ..media.audio import Audio
from ..media.video_writer import check_fps
from ..memory.exhausted import PhaseOutOfMemoryError, is_out_of_memory, name_phase
from ..phases import decode_clip, decode_draft, sample_draft, sample_refine
from ..pipeline import Draft, Pipeline
from ..setting_rules import SEEDS
from ..settings import DraftSettings, RefineSettings
from ..text import suggest_longer
from ..types import Notify
from ..weights.atomic import check_writable
from .components import Components
from .many_options import ManyOptions
from .options import ComponentOptions, NamedSettings, OutputOptions, PromptOptions
from .outputs import (
    ClipFiles,
    clip_name,
    find_draft,
    find_refined,
    folder_files,
    vbench_files,
    write_clip,
    write_draft,
    write_draft_video,
    write_refined,
)
from .progress import Reporter
from .prompts import SeededPrompt
from .record import Record
from .work import Made

DEFAULT_FOLDER = "clips"
ADVICE = "away from the draft (--match-color takes its colours back, a lower --noise-step keeps more of it)"

MadeFields = dict[str, str | int | bool]
"""What `--json` says of a clip: prompt, seed, path, skipped."""


@dataclass(frozen=True)
class ClipOptions:
    """What the command line asks for. Settings as far as they are named."""

    prompts: PromptOptions
    draft: NamedSettings
    refine: NamedSettings
    components: ComponentOptions
    output: OutputOptions
    layout: str = "folders"  # or "vbench"
    many: ManyOptions = field(default_factory=ManyOptions)


@dataclass(frozen=True)
class Job:
    """One clip to make: its record as far as it is known before, plans of an earlier run among it, and its files."""

    record: Record
    files: ClipFiles

    @property
    def is_draft(self) -> bool:
        """Whether the job ends with the draft."""
        return self.record.refine is None

    def as_made(self, skipped: bool = False) -> Made:
        path = self.files.draft if self.is_draft else self.files.final
        return Made(self.record.prompt, self.record.draft.seed, path, skipped)


def list_jobs(
    options: ClipOptions, prompts: list[SeededPrompt], components: Components, earlier: Record | None, notify: Notify
) -> list[Job]:
    """Every clip of the command, with all its numbers checked. earlier: what is to be made again. Raises InputError."""
    first = first_record(options, prompts[0].text, components, earlier, notify)
    if options.components.t5 and (hint := suggest_longer(min((prompt.text for prompt in prompts), key=len))):
        notify(hint)
    if options.layout == "vbench" and any(prompt.seed is not None for prompt in prompts):
        raise InputError("--layout vbench names clips by their number, so no line of --prompts has a seed of its own")
    jobs: dict[ClipFiles, Job] = {}
    for prompt in prompts:
        record = reseed(first, prompt.seed, options.refine)
        for index in range(options.prompts.samples):
            draft = replace(record.draft, seed=(record.draft.seed + index) % SEEDS)
            refine = record.refine and replace(record.refine, seed=(record.refine.seed + index) % SEEDS)
            made = replace(record, prompt=prompt.text, draft=draft, refine=refine)
            files = choose_files(options, prompt.text, draft.seed, index)
            jobs.setdefault(files, Job(made, files))  # the same line twice is the same clip
    return list(jobs.values())


def reseed(record: Record, seed: int | None, named: NamedSettings) -> Record:
    """With the seed of a line, which stage 2 follows unless its own is named; None changes nothing."""
    if seed is None:
        return record
    follows = record.refine and "seed" not in named
    refine = replace(record.refine, seed=seed) if follows else record.refine
    return replace(record, draft=replace(record.draft, seed=seed), refine=refine)


def first_record(
    options: ClipOptions, prompt: str, components: Components, earlier: Record | None, notify: Notify
) -> Record:
    """What the first sample of a prompt is made with; of the others prompt and seeds differ."""
    defaults = components.configs["stage1"].defaults
    draft = DraftSettings.from_defaults(defaults, **options.draft)
    note_floored(options.draft, draft, notify)
    refine = None
    if "stage2" in components.configs:
        inherited = {"seed": draft.seed, "negative": draft.negative}
        refine = resolve_refine(inherited | options.refine, components, notify)
    return Record(
        prompt=prompt,
        draft=draft,
        refine=refine,
        weights=components.hashes,
        dtype=components.dtype_name,
        device=components.device.type,
        fps=check_fps(defaults.fps),
        crf=options.output.checked_crf(),
        attention=options.components.attention,
        kernel=components.kernel,
        draft_plan=earlier.draft_plan if earlier and draft.size == earlier.draft.size else None,
        refine_plan=earlier.refine_plan if earlier and refine.size == earlier.refine.size else None,
    )


def resolve_refine(named: NamedSettings, components: Components, notify: Notify) -> RefineSettings:
    """Stage 2's settings, and a note of what became of an impossible size."""
    settings = RefineSettings.from_defaults(components.configs["stage2"].defaults, **named)
    note_floored(named, settings, notify)
    return settings


def note_floored(named: NamedSettings, settings: DraftSettings | RefineSettings, notify: Notify) -> None:
    sides = dict(zip(("height", "width"), named["size"], strict=True)) if "size" in named else named
    for name in ("height", "width"):
        if name in sides and sides[name] != getattr(settings, name):
            notify(f"{name} {sides[name]} is floored to {getattr(settings, name)}, a multiple of 16")


def choose_files(options: ClipOptions, prompt: str, seed: int, index: int) -> ClipFiles:
    """In the output folder itself for a single clip, else in a folder of its own below."""
    folder = Path(options.output.output or DEFAULT_FOLDER)
    if options.layout == "vbench":
        return vbench_files(folder, prompt, index)
    if options.output.output and not options.prompts.are_many:
        return folder_files(folder)
    return folder_files(folder / clip_name(prompt, seed))


def check_files(jobs: Iterable[Job]) -> None:
    """Raises InputError where a folder cannot be written, or a folder lies where a file is to be."""
    jobs = list(jobs)
    for folder in sorted({folder for job in jobs for folder in job.files.folders()}):
        check_writable(folder)
    for path in (path for job in jobs for path in job.files.visible() if path.is_dir()):
        raise InputError(f"{path} is a folder; a file is written there, so choose another --output")


def make_clip(pipe: Pipeline, job: Job, paths: dict[str, str], reporter: Reporter) -> None:
    """The draft is on disk before stage 2 begins; Ctrl-C then leaves it there for the next run."""
    d = resume_draft(pipe, job, reporter) or make_draft(pipe, job, reporter)
    with keeping(f"the finished draft is kept in {job.files.draft}"):
        make_refined(pipe, d, replace(job, record=replace(job.record, draft_plan=d.plan)), paths, reporter)


def make_refined(
    pipe: Pipeline, d: Draft, job: Job, paths: dict[str, str], reporter: Reporter, audio: Audio | None = None
) -> None:
    """Stage 2 and all that is written of a clip. Its latent is on disk before it is decoded."""
    record = job.record
    found = find_refined(job.files, record)
    if found is not None:
        reporter.note(f"going on from the refined latent {job.files.refined}")
    latent, plan = found or sample_refine(pipe, d, record.refine, plan=record.refine_plan, callback=reporter.progress)
    record = replace(record, refine_plan=plan)
    write_refined(job.files, latent, record)
    with keeping(f"the refined latent is kept in {job.files.refined}, and the same command goes on from it"):
        clip = decode_clip(pipe, d, latent, record.refine, plan, callback=reporter.progress)
        if clip.drift.is_large:
            reporter.note(f"{ADVICE}: by {clip.drift}, in levels of 255")
        write_clip(job.files, clip, replace(record, drift=clip.drift), paths, audio, reporter.progress)


def make_draft(pipe: Pipeline, job: Job, reporter: Reporter) -> Draft:
    """The latent is on disk before it is decoded."""
    record = job.record
    latent, plan = sample_draft(pipe, record.prompt, record.draft, plan=record.draft_plan, callback=reporter.progress)
    record = replace(record, draft_plan=plan)
    write_draft(job.files, latent, record)
    with keeping(f"the finished draft is kept in {job.files.draft}"):
        d = decode_draft(pipe, record.prompt, latent, record.draft, plan, callback=reporter.progress)
        write_draft_video(job.files, d, record)
    return d


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


def report_made(made: Made, reporter: Reporter) -> MadeFields:
    """One clip is there: its path on stdout, and what a program wants to know of it."""
    if made.skipped:
        reporter.note(f"already finished: {made.path}")
    fields = {"prompt": made.prompt, "seed": made.seed, "path": str(made.path), "skipped": made.skipped}
    reporter.step("clip", str(made.path), **fields)
    return fields
