"""A clip's videos in parts of SEGMENT temporal groups each, every one encoded by itself and whole on disk.

A run that was killed goes on after the last whole part, and the parts that it joins in the end are those of a run that
was not. The parts' ends are fixed. A clip that is no longer than one part is encoded in one, as ever; in a longer one
x264 would begin anew after 250 frames by itself.
"""

import hashlib
import json
from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from torch import Tensor

from ..clip_stream import Span
from ..errors import InputError
from ..faithful import AddedColor
from ..media.clock import Clock
from ..media.codecs import H264
from ..media.picture_writer import PictureWriter, open_picture_writer
from ..media.video_writer import VideoWriter, open_video_writer, put_side_by_side
from ..memory import VAESplit
from ..vae_stream import decode_spans
from ..weights.atomic import save_weights
from ..weights.reader import open_safetensors
from .jobs import Job
from .outputs import COMPARISON, FINAL, preview_crf
from .record import Record

SEGMENT = 30  # temporal groups: 240 frames


@dataclass(frozen=True)
class Segment:
    """A part that is written: the drift of its frames [f, 2], and the colour that was added to its last one."""

    drift: Tensor
    added: AddedColor


def split_segments(t: int, split: VAESplit) -> list[range]:
    """The spans (vae_stream.decode_spans) of each part of a clip of t latent frames."""
    spans = decode_spans(t, split)
    each = SEGMENT // len(spans[0])
    return [range(i, min(i + each, len(spans))) for i in range(0, len(spans), each)]


def list_videos(job: Job) -> list[str]:
    return [FINAL] if job.files.side_by_side is None else [FINAL, COMPARISON]


def write_segment(job: Job, number: int, spans: Iterable[Span], clock: Clock, added: AddedColor) -> Segment:
    """Encodes a part of the refined clip and of the comparison. clock: of the part; added: follows the spans."""
    drift = []
    with ExitStack() as stack:
        writers = {video: stack.enter_context(open_part(job, video, number, clock)) for video in list_videos(job)}
        for span in spans:
            drift.append(span.drift)
            writers[FINAL].write(span.frames)
            if COMPARISON in writers:
                for left, right in zip(span.draft.split(1), span.frames.split(1), strict=True):
                    writers[COMPARISON].write(put_side_by_side(left, right))
    return Segment(torch.cat(drift), AddedColor(added.color, added.count))


def open_part(
    job: Job, video: str, number: int, clock: Clock
) -> AbstractContextManager[VideoWriter] | AbstractContextManager[PictureWriter]:
    path = job.files.segment(video, number)
    if video != FINAL:
        return open_video_writer(path, clock, crf=preview_crf(job.record), video=H264)
    if job.record.video.is_pictures:
        return open_picture_writer(path, clock, job.record.video)
    return open_video_writer(path, clock, crf=job.record.crf, video=job.record.video)


def save_segment(job: Job, number: int, segment: Segment) -> None:
    """Says that a part is whole."""
    tensors = {"drift": segment.drift, "color": segment.added.color, "count": torch.tensor(segment.added.count)}
    save_weights(job.files.segment_state(number), tensors, {"key": hash_record(job.record)})


def find_segment(job: Job, number: int) -> Segment | None:
    """This very part, if an earlier run has written it."""
    try:
        file = open_safetensors(job.files.segment_state(number))
        is_own = file.metadata.get("key") == hash_record(job.record)
        if not is_own or not all(job.files.segment(video, number).exists() for video in list_videos(job)):
            return None
        drift, color, count = (file.tensors[name].clone() for name in ("drift", "color", "count"))
    except (InputError, KeyError, SafetensorError):
        return None
    return Segment(drift, AddedColor(color, int(count)))


def hash_record(record: Record) -> str:
    """Of all that the record tells, software and memory plan as well."""
    return hashlib.sha256(json.dumps(record.to_json(), sort_keys=True).encode()).hexdigest()
