"""A refined clip decoded and written, part by part: neither its frames nor the draft's beside them are ever whole."""

import hashlib
import json
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ..clip_parts import COMPARISON, FINAL, ClipParts, StoredVideo, write_segments
from ..clip_stream import Span, stream_clip
from ..faithful import AddedColor, Drift
from ..media.audio import Audio
from ..media.codecs import H264
from ..media.picture_writer import join_pictures
from ..media.video_join import join_videos
from ..pipeline import Draft, Pipeline
from ..weights.atomic import remove_path
from .jobs import Job
from .outputs import preview_crf, video_metadata, write_json
from .progress import Reporter
from .record import Record

ADVICE = "away from the draft (--match-color takes its colours back, a lower --noise-step keeps more of it)"


def write_clip(
    pipe: Pipeline,
    d: Draft,
    latent: Tensor,
    job: Job,
    paths: dict[str, str],
    reporter: Reporter,
    audio: Audio | None = None,
) -> None:
    """latent -> the refined video, the comparison and, last, the sidecar that says that all is there.

    paths: of the components, for the sidecar alone.
    """
    files = job.files
    parts, run = list_parts(job), (job.record.refine, job.record.refine_plan)

    def open_stream(start: int, added: AddedColor) -> Generator[Span, None, None]:
        return stream_clip(pipe, d, latent, *run, start=start, added=added, callback=reporter.progress)

    split = job.record.refine_plan.decode
    segments = write_segments(parts, latent.shape[2], split, open_stream, reporter.note, job.resume)
    drift = Drift.summarize(torch.cat([segment.drift for segment in segments]))
    if drift.is_large:
        reporter.note(f"{ADVICE}: by {drift}, in levels of 255")
    record = replace(job.record, drift=drift)
    for video in parts.videos:
        join_parts(replace(job, record=record), video, parts.paths(video, segments), audio)
    if files.sidecar is not None:
        write_json(files.sidecar, replace(record, paths=paths).to_json())
    else:
        files.draft.unlink(missing_ok=True)
    remove_temporary(job)


def list_parts(job: Job) -> ClipParts:
    """Of the refined clip and, where the layout has one, the comparison."""
    record, videos = job.record, {FINAL: StoredVideo(job.record.video, job.record.crf)}
    if job.files.side_by_side is not None:
        videos[COMPARISON] = StoredVideo(H264, preview_crf(record))
    return ClipParts(job.files.parts, hash_record(record), job.clock, videos)


def hash_record(record: Record) -> str:
    """Of all that the record tells, software and memory plan as well."""
    return hashlib.sha256(json.dumps(record.to_json(), sort_keys=True).encode()).hexdigest()


def join_parts(job: Job, video: str, parts: list[Path], audio: Audio | None) -> None:
    """All parts of FINAL or COMPARISON into its place."""
    files, record = job.files, job.record
    if video == FINAL and record.video.is_pictures:
        join_pictures(files.final, parts, job.clock, record.video, audio=audio)
        return
    path, stored = (files.final, record.video) if video == FINAL else (files.side_by_side, H264)
    join_videos(path, parts, job.clock, metadata=video_metadata(record), audio=audio, video=stored)


def remove_temporary(job: Job) -> None:
    """What is there only until the clip is."""
    for path in job.files.temporary():
        remove_path(path)
