"""A refined clip decoded and written, part by part: neither its frames nor the draft's beside them are ever whole."""

from contextlib import closing
from dataclasses import replace
from itertools import islice

import torch
from torch import Tensor

from ..clip_stream import stream_clip
from ..faithful import AddedColor, Drift
from ..media.audio import Audio
from ..media.video_join import join_videos
from ..pipeline import Draft, Pipeline
from .jobs import Job
from .outputs import video_metadata, write_json
from .progress import Reporter
from .segments import (
    FINAL,
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
        path = files.final if video == FINAL else files.side_by_side
        parts = [files.segment(video, number) for number in range(len(segments))]
        join_videos(path, parts, d.fps, metadata=video_metadata(record), audio=audio)
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
            done.append(write_segment(job, number, islice(stream, len(parts[number])), d.fps, added))
            if job.resume:
                save_segment(job, number, done[-1])
    return done


def remove_temporary(job: Job) -> None:
    """What is there only until the clip is."""
    for path in job.files.temporary():
        path.unlink(missing_ok=True)
