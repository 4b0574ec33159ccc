"""A refined clip decoded and written, part by part: neither its frames nor the draft's beside them are ever whole."""

from contextlib import closing
from dataclasses import replace
from itertools import islice

import torch
from torch import Tensor

from ..clip_stream import stream_clip
from ..faithful import AddedColor, Drift
from ..media.audio import Audio
from ..media.codecs import H264
from ..media.picture_writer import join_pictures
from ..media.video_join import join_videos
from ..pipeline import Draft, Pipeline
from ..weights.atomic import remove_path
from .jobs import Job
from .outputs import FINAL, video_metadata, write_json
from .progress import Reporter
from .segments import (
    Segment,
    find_segment,
    list_videos,
    save_segment,
    split_segments,
    write_segment,
)

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
    segments = write_segments(pipe, d, latent, job, reporter)
    drift = Drift.summarize(torch.cat([segment.drift for segment in segments]))
    if drift.is_large:
        reporter.note(f"{ADVICE}: by {drift}, in levels of 255")
    record = replace(job.record, drift=drift)
    for video in list_videos(job):
        join_parts(replace(job, record=record), video, len(segments), audio)
    if files.sidecar is not None:
        write_json(files.sidecar, replace(record, paths=paths).to_json())
    else:
        files.draft.unlink(missing_ok=True)
    remove_temporary(job)


def write_segments(pipe: Pipeline, d: Draft, latent: Tensor, job: Job, reporter: Reporter) -> list[Segment]:
    """All parts of the clip, of which those that are there already are left as they are."""
    parts, done = split_segments(latent.shape[2], job.record.refine_plan.decode), []
    while job.resume and len(done) < len(parts) and (found := find_segment(job, len(done))) is not None:
        done.append(found)
    if done:
        reporter.note(f"going on after part {len(done)} of {len(parts)} of the video")
    if len(done) == len(parts):
        return done
    added = done[-1].added if done else AddedColor()
    start, run = parts[len(done)].start, (job.record.refine, job.record.refine_plan)
    job.files.refined.parent.mkdir(parents=True, exist_ok=True)
    with closing(stream_clip(pipe, d, latent, *run, start=start, added=added, callback=reporter.progress)) as stream:
        for number in range(len(done), len(parts)):
            frames = sum(len(segment.drift) for segment in done)
            done.append(write_segment(job, number, islice(stream, len(parts[number])), job.clock.part(frames), added))
            if job.resume:
                save_segment(job, number, done[-1])
    return done


def join_parts(job: Job, video: str, count: int, audio: Audio | None) -> None:
    """All parts of FINAL or COMPARISON into its place."""
    files, record = job.files, job.record
    parts = [files.segment(video, number) for number in range(count)]
    if video == FINAL and record.video.is_pictures:
        join_pictures(files.final, parts, job.clock, record.video, audio=audio)
        return
    path, stored = (files.final, record.video) if video == FINAL else (files.side_by_side, H264)
    join_videos(path, parts, job.clock, metadata=video_metadata(record), audio=audio, video=stored)


def remove_temporary(job: Job) -> None:
    """What is there only until the clip is."""
    for path in job.files.temporary():
        remove_path(path)
