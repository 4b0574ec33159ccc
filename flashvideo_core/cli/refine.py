"""The command `refine`: stage 2 on a saved draft, or on any video with a prompt (its fps and sound are kept)."""

import argparse
import json
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from torch import Tensor

from ..components import Pipeline
from ..media.audio import Audio
from ..media.draft_file import load_draft
from ..media.video_reader import probe_video, read_video
from ..pipeline import Draft, decode, plan_vae_splits, refine
from ..sizes import MAX_FRAMES, check_frame_count, clip_size, trimmed_count
from ..text import with_motion
from ..weights.atomic import check_writable
from ..weights.reader import file_sha256
from .components import Parts, crf_of, find_parts
from .generate import second_settings
from .outputs import Files, finished, folder_files, write_clip
from .progress import Reporter
from .record import KEY, asked, clip_record, draft_record, paths_of, run_of

STRETCH = 1.1  # released: a draft of 480x256 becomes 1920x1072, a stretch of 1.05


@dataclass(frozen=True)
class Source:
    """What is to be refined: the latent of a draft or the frames of a video, and the record that came with it."""

    path: Path
    size: tuple[int, int]
    latent: Tensor | None = None
    frames: Tensor | None = None
    fps: Fraction | None = None
    audio: Audio | None = None
    record: dict = field(default_factory=dict)


def refine_source(args: argparse.Namespace, reporter: Reporter) -> None:
    """Writes final.mp4, side_by_side.mp4 and clip.json: beside the draft, or in --output."""
    source = open_source(Path(args.source), args.frames, reporter)
    prompt = with_motion(args.prompt or source.record.get("prompt", ""), "none")
    parts = find_parts(args, ("stage2", "vae", "text"), None, reporter.note)
    record = plan_record(args, source, prompt, parts, reporter)
    say_stretch(source.size, record["stage2"], reporter)
    files = place(args, source)
    check_writable(files.final.parent)
    skipped = finished(files, record)
    if not skipped:
        make(parts.load(reporter.progress), source, record, files, paths_of(parts.files), reporter)
    fields = {"prompt": prompt, "seed": record["stage2"]["seed"], "path": str(files.final), "skipped": skipped}
    if skipped:
        reporter.note(f"already finished: {files.final}")
    reporter.step("clip", str(files.final), **fields)
    reporter.finish({"clips": [fields]})


def open_source(path: Path, frames: int | None, reporter: Reporter) -> Source:
    """A saved draft (or the folder of one), else a video, cut to 4n+1 frames. Raises ValueError."""
    path = path / "draft.safetensors" if path.is_dir() else path
    if path.suffix == ".safetensors":
        latent, record = load_draft(path)
        fps = Fraction(record["fps"]) if "fps" in record else None
        return Source(path, (8 * latent.shape[-2], 8 * latent.shape[-1]), latent, fps=fps, record=record)
    return open_video(path, frames, reporter)


def open_video(path: Path, frames: int | None, reporter: Reporter) -> Source:
    """The first `frames` of a video (all up to MAX_FRAMES when None), cut at the end to 4n+1."""
    if frames is not None:
        check_frame_count(frames)
    total = probe_video(path).frames
    limit = min(total, MAX_FRAMES if frames is None else frames)
    video = read_video(path, max_frames=limit if limit < total else None)
    for text in video.notes:
        reporter.note(f"{path.name}: {text}")
    count = trimmed_count(len(video.frames))
    if count < max(total, len(video.frames)):
        reporter.note(f"{path.name}: {count} of its {total} frames are used (4n+1, at most {MAX_FRAMES})")
    shown, size = video.frames[:count], tuple(video.frames.shape[1:3])
    return Source(path, size, None, shown, video.fps, video.audio, prompt_in(video.metadata))


def prompt_in(metadata: dict[str, str]) -> dict:
    """The prompt of a video that we made; nothing for any other."""
    try:
        return {"prompt": str(json.loads(metadata.get(KEY, ""))["prompt"])}
    except (ValueError, KeyError, TypeError):
        return {}


def plan_record(args: argparse.Namespace, source: Source, prompt: str, parts: Parts, reporter: Reporter) -> dict:
    """The clip's record. A draft of ours that is refined as it was made can be made anew by `generate --from`; of
    anything else the record names the source."""
    old = source.record if source.latent is not None else {}
    stage1 = old.get("stage1", {"seed": 0, "negative": None})
    stage1 |= {"negative": args.negative} if args.negative else {}
    stage2 = second_settings(args, parts, reporter) | {"seed": stage1["seed"] if args.seed is None else args.seed}
    fps = source.fps or parts.configs["stage2"].defaults.fps
    weights = {name: old["weights"][name] for name in ("stage1",) if old} | parts.weights
    run = run_of(parts.device, parts.dtype, fps, crf_of(args), args.attention)
    record = clip_record(prompt, stage1, stage2, weights, run)
    if old and asked(draft_record(record)) == asked(old):
        return record
    return record | {"source": {"file": source.path.name, "sha256": file_sha256(source.path)}}


def say_stretch(size: tuple[int, int], stage2: dict, reporter: Reporter) -> None:
    ratio = (size[1] / size[0]) / (stage2["width"] / stage2["height"])
    if not 1 / STRETCH < ratio < STRETCH:
        shown = f"{size[1]}x{size[0]} is stretched to {stage2['width']}x{stage2['height']}"
        reporter.note(f"{shown}; --size HEIGHTxWIDTH with its proportions would keep them")


def place(args: argparse.Namespace, source: Source) -> Files:
    """--output, or the folder of the draft, or clips/<name of the video>."""
    home = source.path.parent if source.latent is not None else Path("clips") / source.path.stem
    files = folder_files(Path(args.output) if args.output else home)
    return replace(files, draft=source.path, draft_video=None)


def make(pipe: Pipeline, source: Source, record: dict, files: Files, paths: dict, reporter: Reporter) -> None:
    settings, stage2 = record["stage1"], dict(record["stage2"])
    size = (stage2.pop("height"), stage2.pop("width"))
    frames = decoded(pipe, source, reporter) if source.frames is None else source.frames
    fps = Fraction(record["fps"])
    d = Draft(record["prompt"], frames, source.latent, settings["seed"], fps, settings)
    clip = refine(pipe, d, size=size, **stage2, callback=reporter.progress)
    write_clip(files, clip, record | {"stage2": clip.settings}, paths, source.audio, reporter.progress)


def decoded(pipe: Pipeline, source: Source, reporter: Reporter) -> Tensor:
    """The draft's frames, tiled as they were when it was made."""
    tiles = source.record.get("stage1", {}).get("tiles")
    tiles = tiles or plan_vae_splits(pipe, clip_size(*source.latent.shape[2:]), "decode")
    return decode(pipe, source.latent, "draft_decode", reporter.progress, tiles["decode"])
