"""The command `vbench generate`: the clips that VBench judges, under the names by which it finds them."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..components import COMPONENTS
from ..errors import InputError
from ..weights.atomic import check_writable
from .attention_options import named_refine
from .batch import make_jobs
from .components import Components
from .jobs import ClipOptions, Job, first_record
from .makers import open_makers
from .many_options import ManyOptions
from .options import DRAFT, ComponentOptions, OutputOptions, PromptOptions, named_settings, parse_options
from .outputs import vbench_files
from .progress import Reporter
from .vbench_manifest import check_names, find_collisions, write_manifest
from .vbench_suite import Entry, SuiteClip, list_clips, read_suite

ONE_PROMPT = PromptOptions(prompt=None, prompts=None, samples=1)


@dataclass(frozen=True)
class SuiteOptions:
    """Which clips of the suite: dimensions None for all; seed: from which those of the clips are derived."""

    info: str
    long: str | None
    dimensions: list[str] | None
    base_seed: int

    def read(self) -> list[Entry]:
        return read_suite(Path(self.info), Path(self.long) if self.long else None, self.dimensions)


def run(args: argparse.Namespace, reporter: Reporter) -> None:
    suite = parse_options(SuiteOptions, args)
    draft, refine = named_settings(args, DRAFT), named_refine(args)
    options = ClipOptions(
        ONE_PROMPT,
        draft,
        {"negative": draft["negative"]} | refine if "negative" in draft else refine,
        parse_options(ComponentOptions, args),
        parse_options(OutputOptions, args),
        "vbench",
        parse_options(ManyOptions, args),
    )
    if options.components.embeddings:
        raise InputError("vbench needs a text encoder for its prompts, which --embeddings replaces")
    if args.dry_run:
        count(suite, options.many, reporter)
    else:
        generate_suite(suite, options, reporter)


def count(suite: SuiteOptions, many: ManyOptions, reporter: Reporter) -> None:
    """What would be made; nothing is written."""
    entries = suite.read()
    clips = many.shard.take(list_clips(entries, suite.base_seed))
    alike = len(find_collisions(clip.name for clip in clips))
    result = {"clips": len(clips), "prompts": len(entries), "names_that_differ_in_case_alone": alike}
    reporter.finish(result, [f"{len(clips)} clips of {len(entries)} prompts"])


def generate_suite(suite: SuiteOptions, options: ClipOptions, reporter: Reporter) -> None:
    """The shard's clips; those that are finished already are left as they are."""
    entries, folder = suite.read(), Path(options.output.output)
    clips = list_clips(entries, suite.base_seed)
    check_writable(folder)
    check_names(folder, [clip.name for clip in clips])
    with open_makers(options.many, options.components, reporter) as makers:
        components = makers.find_components(COMPONENTS)
        jobs = list_suite_jobs(clips, options, components, reporter)
        dimensions = suite.dimensions or {name for entry in entries for name in entry.dimensions}
        write_manifest(folder, Path(suite.info), dimensions, clips)
        made = make_jobs(jobs, components, makers, options.many.shard, reporter)
    reporter.finish({"clips": made})


def list_suite_jobs(
    clips: Sequence[SuiteClip], options: ClipOptions, components: Components, reporter: Reporter
) -> list[Job]:
    """Every clip with all its numbers; the record in each video has its prompt and both seeds."""
    first, folder = first_record(options, clips[0].shown, components, None, reporter.note), Path(options.output.output)
    jobs = []
    for clip in clips:
        draft, refine = replace(first.draft, seed=clip.seed), replace(first.refine, seed=clip.seed)
        record = replace(first, prompt=clip.shown, draft=draft, refine=refine)
        jobs.append(Job(record, vbench_files(folder, clip.prompt, clip.index), options.output.resume))
    return jobs
