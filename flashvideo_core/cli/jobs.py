"""The clips of `generate` and `draft`: what is asked for, and every clip with all its numbers."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from ..errors import InputError
from ..media.clock import Clock, make_clock
from ..media.video_writer import check_fps
from ..setting_rules import SEEDS
from ..settings import DraftSettings, RefineSettings
from ..text import suggest_longer
from ..types import Notify
from ..weights.atomic import check_writable
from .components import Components
from .many_options import ManyOptions
from .options import ComponentOptions, NamedSettings, OutputOptions, PromptOptions
from .outputs import ClipFiles, check_places, clip_name, folder_files, vbench_files
from .progress import Reporter
from .prompts import SeededPrompt
from .record import Record
from .work import Made

DEFAULT_FOLDER = "clips"

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
    """One clip to make: its record as far as it is known before, plans of an earlier run among it, and its files.

    resume: a run that was stopped is gone on with, and this one leaves what is needed for that; times: of the frames,
    where they are no constant rate's (media/clock.py).
    """

    record: Record
    files: ClipFiles
    resume: bool = True
    times: tuple[Fraction, ...] | None = None

    @property
    def clock(self) -> Clock:
        return make_clock(self.record.fps, self.times)

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
    if options.layout == "vbench" and first.video.suffix != ".mp4":
        raise InputError(f"--layout vbench is a folder of mp4 files, and {first.video.codec.name} goes into none")
    jobs: dict[ClipFiles, Job] = {}
    for prompt in prompts:
        record = reseed(first, prompt.seed, options.refine)
        for index in range(options.prompts.samples):
            draft = replace(record.draft, seed=(record.draft.seed + index) % SEEDS)
            refine = record.refine and replace(record.refine, seed=(record.refine.seed + index) % SEEDS)
            made = replace(record, prompt=prompt.text, draft=draft, refine=refine)
            files = choose_files(options, made, index)
            jobs.setdefault(files, Job(made, files, options.output.resume))  # the same line twice is the same clip
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
        video=options.output.checked_format(),
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


def choose_files(options: ClipOptions, record: Record, index: int) -> ClipFiles:
    """In the output folder itself for a single clip, else in a folder of its own below."""
    folder = Path(options.output.output or DEFAULT_FOLDER)
    if options.layout == "vbench":
        return vbench_files(folder, record.prompt, index)
    if not options.output.output or options.prompts.are_many:
        folder = folder / clip_name(record.prompt, record.draft.seed)
    return folder_files(folder, record.video)


def check_files(jobs: Iterable[Job]) -> None:
    """Raises InputError where a folder cannot be written, or a folder lies where a file is to be."""
    jobs = list(jobs)
    for folder in sorted({folder for job in jobs for folder in job.files.folders()}):
        check_writable(folder)
    for job in jobs:
        check_places(job.files)


def report_made(made: Made, reporter: Reporter) -> MadeFields:
    """One clip is there: its path on stdout, and what a program wants to know of it."""
    if made.skipped:
        reporter.note(f"already finished: {made.path}")
    fields = {"prompt": made.prompt, "seed": made.seed, "path": str(made.path), "skipped": made.skipped}
    reporter.step("clip", str(made.path), **fields)
    return fields
