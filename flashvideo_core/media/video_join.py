"""Videos of the same kind end to end: their packets are moved into one file, and nothing is encoded anew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
from av.container import OutputContainer

from ..weights.atomic import atomic_write, name_full_disk
from .audio import Audio, add_audio_stream, encode_audio
from .clock import Clock
from .codecs import H264, VideoFormat
from .encoders import tag_stream
from .video_writer import container_options


def join_videos(
    path: str | Path,
    parts: Sequence[Path],
    clock: Clock,
    *,
    metadata: dict[str, str] | None = None,
    audio: Audio | None = None,
    video: VideoFormat = H264,
) -> int:
    """Writes what `write_video` would have written of all parts' frames, and returns how many there are.

    parts: files that `write_video` made as this `video` by parts of this clock, each of which begins with a keyframe
    that nothing after it looks behind. Whole or not at all; raises WriteError for a full disk.
    """
    path, options = Path(path), container_options(video)
    with atomic_write(path) as partial, av.open(f"file:{partial}", "w", **options) as container:
        container.metadata.update(metadata or {})
        with name_full_disk(path):
            return _join(container, parts, clock, audio, video)


def _join(
    container: OutputContainer, parts: Sequence[Path], clock: Clock, audio: Audio | None, video: VideoFormat
) -> int:
    stream, count = None, 0
    for part in parts:
        with av.open(f"file:{part}") as source:
            film = source.streams.video[0]
            if stream is None:
                stream = container.add_stream_from_template(film, opaque=True)
                stream.time_base = clock.time_base
                tag_stream(stream, video)
                sound = audio and add_audio_stream(container, audio, video.codec.sound)
            offset = round(clock.seconds(count) / film.time_base)
            for packet in source.demux(film):
                if packet.dts is not None:
                    packet.pts, packet.dts, packet.stream = packet.pts + offset, packet.dts + offset, stream
                    container.mux(packet)
            count += film.frames
    if audio:
        encode_audio(container, sound, audio, clock.seconds(count))
    return count
