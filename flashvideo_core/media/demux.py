"""A file opened: which of its streams is the film, its packets, and the frames that can be decoded from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path

import av
from av import AudioStream, Packet, VideoStream
from av.container import InputContainer
from av.frame import Frame
from av.stream import Disposition

from ..errors import InputError
from ..weights.file_kind import HEAD, describe_stand_in
from .animated_webp import unpack_animated_webp
from .picture_files import is_animated_webp

COVER = Disposition.attached_pic | Disposition.timed_thumbnails
PACKETS_TO_TELL = 500  # of all films, to find one that is a single picture


@contextmanager
def open_media(path: str | Path) -> Iterator[InputContainer]:
    """The container of a local file. `file:` and the whitelist keep names that look like addresses, and playlists,
    from reaching anything else. Raises InputError for a file that is absent, unreadable or of no known kind."""
    _check_readable(path)
    source: str | BytesIO = unpack_animated_webp(Path(path)) if is_animated_webp(Path(path)) else f"file:{path}"
    try:
        # container_options: PyAV before 18 crashes on `options` for formats that find their streams late (FLV, MPEG)
        whitelist = {"protocol_whitelist": "file"}
        container = av.open(source, container_options=whitelist, metadata_errors="replace")
    except (av.FFmpegError, OSError):
        raise InputError(f"{path}: not a video file (or one that is cut off or damaged)") from None
    with container:
        yield container


def _check_readable(path: str | Path) -> None:
    if not Path(path).is_file():
        raise InputError(f"{path}: there is no such file")
    try:
        with Path(path).open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if not head:
        raise InputError(f"{path}: is an empty file")
    if stand_in := describe_stand_in(head):
        raise InputError(f"{path}: {stand_in}")


def choose_film(path: str | Path, container: InputContainer) -> VideoStream:
    """The first video stream that is no cover picture: neither tagged as one, nor a single picture beside a film.

    Raises InputError where there is none, and for one without a decoder.
    """
    films = [stream for stream in container.streams.video if not stream.disposition & COVER]
    if not films and container.streams.video:
        raise InputError(f"{path}: has no video in it but a cover picture")
    if not films or container.format.name == "tty":  # tty: FFmpeg draws text files
        raise InputError(f"{path}: has no video in it (or is cut off before it)")
    if len(films) > 1:
        with open_media(path) as again:
            packets = islice(again.demux(video=tuple(range(len(again.streams.video)))), PACKETS_TO_TELL)
            lengths = Counter(packet.stream_index for packet in packets if packet.size)
        films = [stream for stream in films if lengths[stream.index] > 1] or films
    if films[0].codec_context is None:
        raise InputError(f"{path}: there is no decoder here for its video")
    return films[0]


@dataclass
class Decoder:
    """Decodes one stream of a container, packet by packet; what cannot be decoded is skipped and counted."""

    container: InputContainer
    stream: VideoStream | AudioStream
    skipped: int = 0  # packets that could not be decoded
    discarded: int = 0  # packets that an edit list has cut off

    def frames(self) -> Iterator[Frame]:
        """All frames that can be decoded, to the end of what can be read."""
        if self.stream.type == "video":
            self.stream.thread_type = "NONE"  # threads lose good frames with a bad one when the decoder is flushed
        for packet in read_packets(self.container, self.stream):
            self.discarded += packet.is_discard
            try:
                decoded = packet.decode()
            except av.FFmpegError:
                self.skipped += packet.size > 0
                continue
            yield from decoded


def read_packets(container: InputContainer, stream: VideoStream | AudioStream) -> Iterator[Packet]:
    """The packets up to the end, or to where the container cannot be read on; an empty one at the end of all."""
    try:
        yield from container.demux(stream)
    except av.FFmpegError:
        flush = Packet()
        flush.stream = stream
        yield flush


def is_shown(packet: Packet) -> bool:
    """Whether a frame of the film comes of it: not of one that an edit list cuts off, nor of a hidden VP8 frame
    (RFC 6386, 9.1: show_frame)."""
    if not packet.size or packet.is_discard:
        return False
    return packet.stream.codec_context.name != "vp8" or bool(memoryview(packet)[0] & 0x10)
