"""A clip's videos in parts of SEGMENT temporal groups each, every one encoded by itself and whole on disk.

A run that was killed goes on after the last whole part, and the parts that are joined in the end are those of a run
that was not. The parts' ends are fixed. A clip that is no longer than one part is encoded in one, as ever; in a longer
one x264 would begin anew after 250 frames by itself.
"""

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from .clip_stream import Span
from .errors import InputError
from .faithful import AddedColor
from .media.clock import Clock
from .media.codecs import VideoFormat
from .media.picture_writer import PictureWriter, open_picture_writer
from .media.video_writer import VideoWriter, open_video_writer, put_side_by_side
from .memory import VAESplit
from .types import Notify
from .vae_stream import decode_spans
from .weights.atomic import save_weights
from .weights.reader import open_safetensors

FINAL, COMPARISON = "final", "side_by_side"  # the videos of a refined clip
SEGMENT = 30  # temporal groups: 240 frames

OpenStream = Callable[[int, AddedColor], Generator[Span, None, None]]
"""open_stream(start, added) -> a clip's spans from number `start` on; the frames before had `added`, which follows."""


@dataclass(frozen=True)
class Segment:
    """A part that is written: the drift of its frames [f, 2], and the colour that was added to its last one."""

    drift: Tensor
    added: AddedColor


@dataclass(frozen=True)
class StoredVideo:
    """How a video is stored. crf: its quality, None for the codec's default."""

    video: VideoFormat
    crf: float | None = None


@dataclass(frozen=True)
class ClipParts:
    """Where the parts of a clip's videos lie until they are joined.

    stem: the path with which all their names begin. key: a hash of all that the clip is made from; the parts of another
    clip are not looked at. videos: FINAL and, where the clip has one, COMPARISON.
    """

    stem: Path
    key: str
    clock: Clock
    videos: Mapping[str, StoredVideo]

    def path(self, video: str, number: int) -> Path:
        return self.stem.with_name(f"{self.stem.name}.{video}-{number:04}{self.videos[video].video.suffix}")

    def state(self, number: int) -> Path:
        """What says that a part is there, and what the one after it has to know."""
        return self.stem.with_name(f"{self.stem.name}.part-{number:04}.safetensors")

    def paths(self, video: str, segments: list[Segment]) -> list[Path]:
        return [self.path(video, number) for number in range(len(segments))]


def write_segments(
    parts: ClipParts, t: int, split: VAESplit, open_stream: OpenStream, notify: Notify, resume: bool = True
) -> list[Segment]:
    """All parts of a clip of t latent frames, of which those that are there already are left as they are.

    resume: whether the parts of an earlier run are looked for, and these are left for a later one.
    """
    ranges, done = split_segments(t, split), []
    while resume and len(done) < len(ranges) and (found := find_segment(parts, len(done))) is not None:
        done.append(found)
    if done:
        notify(f"going on after part {len(done)} of {len(ranges)} of the video")
    if len(done) == len(ranges):
        return done
    added = done[-1].added if done else AddedColor()
    parts.stem.parent.mkdir(parents=True, exist_ok=True)
    with closing(open_stream(ranges[len(done)].start, added)) as stream:
        for number in range(len(done), len(ranges)):
            clock = parts.clock.part(sum(len(segment.drift) for segment in done))
            done.append(write_segment(parts, number, islice(stream, len(ranges[number])), clock, added))
            if resume:
                save_segment(parts, number, done[-1])
    return done


def split_segments(t: int, split: VAESplit) -> list[range]:
    """The spans (vae_stream.decode_spans) of each part of a clip of t latent frames."""
    spans = decode_spans(t, split)
    each = SEGMENT // len(spans[0])
    return [range(i, min(i + each, len(spans))) for i in range(0, len(spans), each)]


def write_segment(parts: ClipParts, number: int, spans: Iterable[Span], clock: Clock, added: AddedColor) -> Segment:
    """Encodes a part of the refined clip and of the comparison. clock: of the part; added: follows the spans."""
    drift = []
    with ExitStack() as stack:
        writers = {video: stack.enter_context(open_part(parts, video, number, clock)) for video in parts.videos}
        for span in spans:
            drift.append(span.drift)
            writers[FINAL].write(span.frames)
            if COMPARISON in writers:
                for left, right in zip(span.draft.split(1), span.frames.split(1), strict=True):
                    writers[COMPARISON].write(put_side_by_side(left, right))
    return Segment(torch.cat(drift), AddedColor(added.color, added.count))


def open_part(
    parts: ClipParts, video: str, number: int, clock: Clock
) -> AbstractContextManager[VideoWriter] | AbstractContextManager[PictureWriter]:
    path, stored = parts.path(video, number), parts.videos[video]
    if stored.video.is_pictures:
        return open_picture_writer(path, clock, stored.video)
    return open_video_writer(path, clock, crf=stored.crf, video=stored.video)


def save_segment(parts: ClipParts, number: int, segment: Segment) -> None:
    """Says that a part is whole."""
    tensors = {"drift": segment.drift, "color": segment.added.color, "count": torch.tensor(segment.added.count)}
    save_weights(parts.state(number), tensors, {"key": parts.key})


def find_segment(parts: ClipParts, number: int) -> Segment | None:
    """This very part, if an earlier run has written it."""
    try:
        file = open_safetensors(parts.state(number))
        is_own = file.metadata.get("key") == parts.key
        if not is_own or not all(parts.path(video, number).exists() for video in parts.videos):
            return None
        drift, color, count = (file.tensors[name].clone() for name in ("drift", "color", "count"))
    except (InputError, KeyError, SafetensorError):
        return None
    return Segment(drift, AddedColor(color, int(count)))
