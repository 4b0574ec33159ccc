"""The command `refine`: stage 2 on saved drafts, or on any videos with a prompt (their fps and sound are kept)."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import InputError
from ..media.timing import CONSTANT, KEEP
from ..media.video_writer import check_fps
from ..memory.exhausted import name_phase
from ..pipeline import Draft, Pipeline
from ..sizes import describe_stretch, latent_size
from ..text import add_motion
from ..types import Notify
from .attention_options import named_refine
from .chosen import choose_drafts
from .components import Components
from .jobs import DEFAULT_FOLDER, Job, check_files, report_made, resolve_refine
from .makers import open_makers
from .making import make_refined
from .many_options import ManyOptions
from .options import ComponentOptions, NamedSettings, OutputOptions, parse_options
from .outputs import ClipFiles, folder_files, is_finished
from .phase_costs import count_draft_decode, count_refine
from .progress import Reporter
from .record import Record
from .refine_source import Source, SourceOptions, describe_source, open_source
from .replacing import open_files, recover
from .source_files import SourceFiles, find_clips, is_collection
from .work import Made


@dataclass(frozen=True)
class RefineOptions:
    """What the command line asks for. prompt None: each source's; refine as far as it is named.

    are_many: each source is refined into a folder of its own.
    """

    sources: tuple[SourceFiles, ...]
    prompt: str | None
    source: SourceOptions
    refine: NamedSettings
    components: ComponentOptions
    output: OutputOptions
    many: ManyOptions = field(default_factory=ManyOptions)
    are_many: bool = False


@dataclass(frozen=True)
class RefineWork:
    """Refines sources, each of which is a draft, a video or pictures."""

    options: RefineOptions

    def prepare(
        self, pipes: Iterator[Pipeline], items: Sequence[SourceFiles], components: Components
    ) -> Iterator[Pipeline]:
        return pipes

    def make(self, pipes: Iterator[Pipeline], item: SourceFiles, components: Components, reporter: Reporter) -> Made:
        """Writes final.mp4, side_by_side.mp4 and clip.json: beside the draft, or in the output folder."""
        source = open_source(item, self.options.source, reporter.note)
        prompt = add_motion(self.options.prompt or source.prompt, "none")
        record = make_record(self.options, source, prompt, components, reporter.note)
        if stretched := describe_stretch(source.size, record.refine.size):
            reporter.note(stretched)
        files = choose_files(self.options, source)
        recover(files)
        check_files([Job(record, files)])
        skipped = is_finished(files, record)
        if not skipped:
            with open_files(files, record, reporter.note) as work:
                pipe = next(pipes)
                reporter.expect(count_work(pipe, source, record))
                d = open_draft(pipe, source, record, reporter)
                job = Job(record, work, self.options.output.resume, source.times)
                make_refined(pipe, d, job, components.paths, reporter, source.audio)
        return Made(record.prompt, record.refine.seed, files.final, skipped)


def run(args: argparse.Namespace, reporter: Reporter) -> None:
    chosen = choose_drafts(args.chosen, args.chosen_from, bool(args.sources), "sources")
    named = map(Path, args.sources) if chosen is None else (draft.path for draft in chosen)
    clips = {source: find_clips(source) for source in named}
    sources = tuple(dict.fromkeys(files for found in clips.values() for files in found))
    is_folder_of_clips = any(source.is_dir() and is_collection(found) for source, found in clips.items())
    options = RefineOptions(
        sources,
        args.prompt,
        parse_options(SourceOptions, args),
        named_refine(args),
        parse_options(ComponentOptions, args),
        parse_options(OutputOptions, args),
        parse_options(ManyOptions, args),
        are_many=chosen is not None or len(sources) > 1 or is_folder_of_clips,
    )
    refine(options, reporter)


def refine(options: RefineOptions, reporter: Reporter) -> None:
    """Refines the shard's share of the sources; those that are finished already are left as they are."""
    for files in options.sources:
        if not files.path.exists():  # said before the first is refined
            open_source(files, options.source, reporter.note)
    check_folders(options)
    options.components.check_negative(options.refine.get("negative"))
    sources = options.many.shard.take(options.sources)
    with open_makers(options.many, options.components, reporter) as makers:
        components = makers.find_components(("stage2", "vae", "text"))
        clips = [report_made(made, reporter) for _, made in makers.make_all(RefineWork(options), sources, components)]
    reporter.finish({"clips": clips})


def check_folders(options: RefineOptions) -> None:
    """Raises InputError where two of several sources would be written into one folder."""
    taken: dict[Path, Path] = {}
    for files in options.sources:
        folder, path = choose_folder(options, files).resolve(), files.path
        if folder in taken:
            raise InputError(f"{taken[folder]} and {path} would both be refined into {folder}; refine them one by one")
        taken[folder] = path


def make_record(options: RefineOptions, source: Source, prompt: str, components: Components, notify: Notify) -> Record:
    """The clip's record. A draft of ours that is refined as it was made can be made anew by `generate --from`; of
    anything else the record names the source."""
    earlier = source.record
    draft = earlier.draft if earlier else None
    inherited = {"seed": draft.seed, "negative": draft.negative} if draft else {}
    made_of = {"stage1": earlier.weights["stage1"]} if earlier else {}
    record = Record(
        prompt=prompt,
        draft=draft,
        refine=resolve_refine(inherited | options.refine, components, notify),
        weights=made_of | components.hashes,
        dtype=components.dtype_name,
        device=components.device.type,
        fps=check_fps(source.fps or components.configs["stage2"].defaults.fps),
        crf=options.output.checked_crf(),
        video=options.output.checked_format(),
        timing=KEEP if source.times else CONSTANT,
        attention=options.components.attention,
        kernel=components.kernel,
        draft_plan=earlier.draft_plan if earlier else None,
    )
    if earlier and record.of_draft() == earlier:
        return record
    return replace(record, source=describe_source(source.files))


def choose_files(options: RefineOptions, source: Source) -> ClipFiles:
    folder = choose_folder(options, source.files)
    return replace(folder_files(folder, options.output.checked_format()), draft=source.files.path, draft_video=None)


def choose_folder(options: RefineOptions, files: SourceFiles) -> Path:
    """--output, or the folder of the draft, or clips/<name of the video>. Of several, each below --output."""
    if options.output.output is None:
        return files.path.parent if files.is_draft else Path(DEFAULT_FOLDER) / files.name
    folder = Path(options.output.output)
    return folder / files.name if options.are_many else folder


def count_work(pipe: Pipeline, source: Source, record: Record) -> dict[str, float]:
    """What the phases cost in which a source is refined."""
    if source.draft is None:
        return count_refine(pipe, len(source.frames), record.refine)
    frames, height, width = source.draft.clip_size
    return count_draft_decode(pipe, latent_size(frames, height, width)) | count_refine(pipe, frames, record.refine)


def open_draft(pipe: Pipeline, source: Source, record: Record, reporter: Reporter) -> Draft:
    """The source with its frames, as stage 2 takes it."""
    if source.draft is None:
        return Draft(record.prompt, source.frames, fps=record.fps)
    with name_phase("draft_decode"):
        d = source.draft.decode(pipe, reporter.progress)
    return replace(d, prompt=record.prompt, fps=record.fps)
