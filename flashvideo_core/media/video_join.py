"""Videos of the same kind end to end: their packets are moved into one file, and nothing is encoded anew."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
from av.container import OutputContainer

from ..weights.atomic import atomic_write, name_full_disk
from .audio import Audio, add_audio_stream, encode_audio
from .video_writer import MP4, check_fps


def join_videos(
    path: str | Path,
    parts: Sequence[Path],
    fps: Fraction | float,
    *,
    metadata: dict[str, str] | None = None,
    audio: Audio | None = None,
) -> int:
    """Writes what `write_video` would have written of all parts' frames, and returns how many there are.

    parts: files that `write_video` made with this fps, each of which begins with a keyframe that nothing after it looks
    behind. Whole or not at all; raises WriteError for a full disk.
    """
    path, rate = Path(path), check_fps(fps)
    with atomic_write(path) as partial, av.open(f"file:{partial}", "w", **MP4) as container:
        container.metadata.update(metadata or {})
        with name_full_disk(path):
            return _join(container, parts, rate, audio)


def _join(container: OutputContainer, parts: Sequence[Path], rate: Fraction, audio: Audio | None) -> int:
    stream, count = None, 0
    for part in parts:
        with av.open(f"file:{part}") as source:
            film = source.streams.video[0]
            if stream is None:
                stream = container.add_stream_from_template(film)
                stream.time_base = 1 / rate
                sound = audio and add_audio_stream(container, audio)
            offset = round(count / (rate * film.time_base))
            for packet in source.demux(film):
                if packet.dts is not None:
                    packet.pts, packet.dts, packet.stream = packet.pts + offset, packet.dts + offset, stream
                    container.mux(packet)
            count += film.frames
    if audio:
        encode_audio(container, sound, audio, count / rate)
    return count
