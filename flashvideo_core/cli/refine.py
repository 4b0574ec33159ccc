"""The command `refine`: stage 2 on a saved draft, or on any video with a prompt (its fps and sound are kept)."""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

from ..media.video_writer import check_fps
from ..memory.exhausted import name_phase
from ..pipeline import Draft, Pipeline
from ..sizes import describe_stretch
from ..text import add_motion
from ..types import Notify
from ..weights.reader import file_sha256
from .components import Components, find_components
from .jobs import DEFAULT_FOLDER, Job, check_files, make_refined, report_clip, resolve_refine
from .options import REFINE, ComponentOptions, NamedSettings, OutputOptions, named_settings, parse_options
from .outputs import ClipFiles, folder_files, is_finished
from .progress import Reporter
from .record import Record
from .refine_source import Source, open_source
from .replacing import open_files, recover


@dataclass(frozen=True)
class RefineOptions:
    """What the command line asks for. prompt None: the source's; frames None: all; refine as far as it is named."""

    source: Path
    prompt: str | None
    frames: int | None
    refine: NamedSettings
    components: ComponentOptions
    output: OutputOptions


def run(args: argparse.Namespace, reporter: Reporter) -> None:
    options = RefineOptions(
        Path(args.source),
        args.prompt,
        args.frames,
        named_settings(args, REFINE),
        parse_options(ComponentOptions, args),
        parse_options(OutputOptions, args),
    )
    refine(options, reporter)


def refine(options: RefineOptions, reporter: Reporter) -> None:
    """Writes final.mp4, side_by_side.mp4 and clip.json: beside the draft, or in the output folder."""
    source = open_source(options.source, options.frames, reporter.note)
    prompt = add_motion(options.prompt or source.prompt, "none")
    options.components.check_negative(options.refine.get("negative"))
    components = find_components(options.components, ("stage2", "vae", "text"), reporter.note)
    record = make_record(options, source, prompt, components, reporter.note)
    if stretched := describe_stretch(source.size, record.refine.size):
        reporter.note(stretched)
    files = choose_files(options, source)
    recover(files)
    check_files([Job(record, files)])
    skipped = is_finished(files, record)
    if not skipped:
        with open_files(files, record, reporter.note) as work:
            pipe = components.load(reporter.progress)
            d = open_draft(pipe, source, record, reporter)
            make_refined(pipe, d, Job(record, work), components.paths, reporter, source.audio)
    fields = report_clip(record.prompt, record.refine.seed, files.final, skipped, reporter)
    reporter.finish({"clips": [fields]})


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
        attention=options.components.attention,
        kernel=components.kernel,
        draft_plan=earlier.draft_plan if earlier else None,
    )
    if earlier and record.of_draft() == earlier:
        return record
    return replace(record, source={"file": source.path.name, "sha256": file_sha256(source.path)})


def choose_files(options: RefineOptions, source: Source) -> ClipFiles:
    """--output, or the folder of the draft, or clips/<name of the video>."""
    home = source.path.parent if source.draft else Path(DEFAULT_FOLDER) / source.path.stem
    files = folder_files(Path(options.output.output) if options.output.output else home)
    return replace(files, draft=source.path, draft_video=None)


def open_draft(pipe: Pipeline, source: Source, record: Record, reporter: Reporter) -> Draft:
    """The source with its frames, as stage 2 takes it."""
    if source.draft is None:
        return Draft(record.prompt, source.frames, fps=record.fps)
    with name_phase("draft_decode"):
        d = source.draft.decode(pipe, reporter.progress)
    return replace(d, prompt=record.prompt, fps=record.fps)
