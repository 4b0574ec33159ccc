"""The commands `generate` and `draft`: one prompt, or a file of prompts, into finished clips."""

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..components import PARTS, Pipeline
from ..errors import InputError
from ..pipeline import Draft, decode, draft, refine
from ..settings import draft_settings, refine_settings
from ..text import length_hint, with_motion
from ..weights.atomic import check_writable
from .components import Parts, crf_of, find_parts, given_parts, say_floored
from .from_record import old_tiles, repeat_machine, with_record
from .outputs import (
    Files,
    clip_name,
    finished,
    finished_draft,
    folder_files,
    vbench_files,
    write_clip,
    write_draft,
    write_draft_video,
)
from .progress import Reporter
from .record import check_same_weights, clip_record, paths_of, read_record, run_of


@dataclass(frozen=True)
class Job:
    """One clip to make: what it is (the record as far as it is known before) and where it goes."""

    record: dict
    files: Files
    tiles: tuple[dict | None, dict | None] = (None, None)  # of an earlier run, to repeat it


def generate(args: argparse.Namespace, reporter: Reporter) -> None:
    """Drafts and refined clips of all prompts; those that are finished already are left as they are."""
    record = read_record(args.recorded) if args.recorded else None
    if record:
        args = with_record(args, record)
    prompts = read_prompts(args)
    parts = find_parts(args, PARTS, record, reporter.note)
    if record:
        check_same_weights(record, parts.weights, set(given_parts(args)))
        repeat_machine(record, reporter)
    jobs = plan_jobs(args, prompts, parts, record, reporter)
    old = [finished(job.files, job.record) for job in jobs]
    check_folders(job for job, skipped in zip(jobs, old, strict=True) if not skipped)
    pipe, done = None, []
    for number, (job, skipped) in enumerate(zip(jobs, old, strict=True), 1):
        if not skipped:
            say_number(job, number, len(jobs), reporter)
            pipe = pipe or parts.load(reporter.progress)
            make_clip(pipe, job, paths_of(parts.files), reporter)
        done.append(say_clip(job, job.files.final, skipped, reporter))
    reporter.finish({"clips": done})


def drafts(args: argparse.Namespace, reporter: Reporter) -> None:
    """Drafts of all prompts, to be looked at; `refine` goes on from one of them."""
    prompts = read_prompts(args)
    parts = find_parts(args, ("stage1", "vae", "text"), None, reporter.note)
    jobs = plan_jobs(args, prompts, parts, None, reporter)
    check_folders(jobs)
    pipe, done = None, []
    for number, job in enumerate(jobs, 1):
        skipped = job.files.draft_video.is_file() and finished_draft(job.files, job.record) is not None
        if not skipped:
            say_number(job, number, len(jobs), reporter)
            pipe = pipe or parts.load(reporter.progress)
            make_draft(pipe, job, reporter)
        done.append(say_clip(job, job.files.draft, skipped, reporter))
    reporter.finish({"drafts": done})


def plan_jobs(
    args: argparse.Namespace, prompts: list[str], parts: Parts, record: dict | None, reporter: Reporter
) -> list[Job]:
    """Every clip of the command, with all its numbers checked. Raises ValueError."""
    stage1, stage2 = stage_settings(args, parts, reporter)
    fps = parts.configs["stage1"].defaults.fps
    run = run_of(parts.device, parts.dtype, fps, crf_of(args), args.attention)
    tiles = tuple(old_tiles(record, name, new) for name, new in (("stage1", stage1), ("stage2", stage2)))
    if args.t5 and (hint := length_hint(min(prompts, key=len))):
        reporter.note(hint)
    many = args.prompts is not None or args.samples > 1
    jobs = []
    for prompt in dict.fromkeys(prompts):  # the same line twice is the same clip
        for index in range(args.samples):
            seed = (args.seed or 0) + index
            first = stage1 | {"seed": seed, "negative": args.negative}
            second = stage2 and stage2 | {"seed": seed if args.refine_seed is None else args.refine_seed + index}
            made = clip_record(prompt, first, second, parts.weights, run)
            jobs.append(Job(made, place(args, prompt, seed, index, many), tiles))
    return jobs


def stage_settings(args: argparse.Namespace, parts: Parts, reporter: Reporter) -> tuple[dict, dict | None]:
    asked = {"frames": args.frames, "height": args.height, "width": args.width}
    how = {"steps": args.steps, "cfg": args.cfg, "guidance": args.guidance}
    stage1 = draft_settings(parts.configs["stage1"].defaults, **asked, **how)
    say_floored(asked, stage1, reporter.note)
    if "stage2" not in parts.configs:
        return stage1, None
    return stage1, second_settings(args, parts, reporter)


def second_settings(args: argparse.Namespace, parts: Parts, reporter: Reporter) -> dict:
    how = {"steps": args.refine_steps, "cfg": args.refine_cfg, "shift": args.shift, "ref_step": args.noise_step}
    stage2 = refine_settings(parts.configs["stage2"].defaults, size=args.size, **how)
    height, width = args.size or (None, None)
    say_floored({"height": height, "width": width}, stage2, reporter.note)
    return stage2


def read_prompts(args: argparse.Namespace) -> list[str]:
    """The prompt, or the lines of the prompt file that are not empty. Raises ValueError."""
    if args.samples < 1:
        raise InputError(f"samples is {args.samples}; it must be at least 1")
    if (args.prompt is None) == (args.prompts is None):
        if args.prompt is None and args.embeddings:  # they say what is shown; the clip still needs a name
            return [f"embeddings {Path(args.embeddings).stem}"]
        raise InputError("give either a prompt or --prompts FILE")
    if args.prompt is not None:
        return [with_motion(args.prompt, "none")]
    try:
        lines = Path(args.prompts).read_text("utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"{args.prompts} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{args.prompts} is no text file in UTF-8") from None
    prompts = [line.strip() for line in lines if line.strip()]
    if not prompts:
        raise InputError(f"{args.prompts} has no prompt in it")
    return prompts


def place(args: argparse.Namespace, prompt: str, seed: int, index: int, many: bool) -> Files:
    """Files of one clip: in the output folder itself for a single clip, else in a folder of its own below."""
    if getattr(args, "layout", "folders") == "vbench":
        return vbench_files(Path(args.output or "clips"), prompt, index)
    if args.output and not many:
        return folder_files(Path(args.output))
    return folder_files(Path(args.output or "clips") / clip_name(prompt, seed))


def check_folders(jobs: Iterable[Job]) -> None:
    for folder in sorted({folder for job in jobs for folder in job.files.folders()}):
        check_writable(folder)


def make_clip(pipe: Pipeline, job: Job, paths: dict, reporter: Reporter) -> None:
    """The draft is on disk before stage 2 begins; Ctrl-C then leaves it there for the next run."""
    d = kept_draft(pipe, job, reporter) or make_draft(pipe, job, reporter)
    stage2 = dict(job.record["stage2"])
    size = (stage2.pop("height"), stage2.pop("width"))
    try:
        clip = refine(pipe, d, size=size, **stage2, tiles=job.tiles[1], callback=reporter.progress)
        record = job.record | {"stage1": d.settings, "stage2": clip.settings}
        write_clip(job.files, clip, record, paths, callback=reporter.progress)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"the finished draft is kept in {job.files.draft}") from None


def make_draft(pipe: Pipeline, job: Job, reporter: Reporter) -> Draft:
    d = draft(pipe, job.record["prompt"], **job.record["stage1"], tiles=job.tiles[0], callback=reporter.progress)
    record = job.record | {"stage1": d.settings}
    write_draft(job.files, d, record)
    write_draft_video(job.files, d, record)
    return d


def kept_draft(pipe: Pipeline, job: Job, reporter: Reporter) -> Draft | None:
    """This very draft from an earlier run that was stopped before its end."""
    kept = finished_draft(job.files, job.record)
    if kept is None:
        return None
    latent, record = kept
    reporter.note(f"going on from the finished draft {job.files.draft}")
    settings = record["stage1"]
    frames = decode(pipe, latent, "draft_decode", reporter.progress, settings["tiles"]["decode"])
    d = Draft(record["prompt"], frames, latent, settings["seed"], pipe.stage1.config.defaults.fps, settings)
    if job.files.draft_video is not None and not job.files.draft_video.is_file():
        write_draft_video(job.files, d, job.record | {"stage1": settings})
    return d


def say_number(job: Job, number: int, total: int, reporter: Reporter) -> None:
    if total > 1:
        reporter.note(f"{number} of {total}: {job.record['prompt']}")


def say_clip(job: Job, path: Path, skipped: bool, reporter: Reporter) -> dict:
    """One clip is there: its path on stdout, and what a program wants to know of it."""
    if skipped:
        reporter.note(f"already finished: {path}")
    seed = job.record["stage1"]["seed"]
    fields = {"prompt": job.record["prompt"], "seed": seed, "path": str(path), "skipped": skipped}
    reporter.step("clip", str(path), **fields)
    return fields
