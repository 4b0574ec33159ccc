"""Frames -> a folder of PNG pictures 00001.png, 00002.png, ..., with the sound as sound.wav and, for frames at times of
their own, timestamps.txt, which mkvmerge reads."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import torch
from av import VideoCodecContext

from ..errors import InputError
from ..weights.atomic import atomic_folder, check_writable
from .audio import Audio, add_audio_stream, encode_audio
from .clock import Clock, make_clock
from .codecs import VideoFormat, check_encoder
from .color import rgb_to_frame
from .video_writer import check_fps, check_frames

OWN_FILE = re.compile(r"\d{5,}\.png|sound\.wav|timestamps\.txt")


def write_pictures(
    folder: str | Path,
    frames: torch.Tensor | Iterable[torch.Tensor],
    fps: Fraction | float,
    video: VideoFormat,
    *,
    audio: Audio | None = None,
    times: Sequence[Fraction] | None = None,
) -> int:
    """Writes frames [F, H, W, 3] in 0..1 (or an iterable of such chunks) at `video`'s depth and returns F.

    The folder appears whole or not at all, in place of an earlier one. `audio` is cut to F frames at `fps`, or at
    `times` as `write_video` takes them. Raises InputError for no frames, sizes that change, a folder that holds
    anything else, and one that cannot be written.
    """
    clock = make_clock(check_fps(fps), times)
    with open_picture_writer(folder, clock, video, audio=audio) as writer:
        for chunk in [frames] if isinstance(frames, torch.Tensor) else frames:
            writer.write(chunk)
    return writer.count


@contextmanager
def open_picture_writer(
    folder: str | Path, clock: Clock, video: VideoFormat, *, audio: Audio | None = None
) -> Iterator[PictureWriter]:
    """`write_pictures` for frames that come by and by: what is written to the writer is the folder when this ends."""
    folder = Path(folder)
    check_encoder(video)
    check_pictures_folder(folder)
    check_writable(folder.parent)
    with atomic_folder(folder) as partial:
        writer = PictureWriter(partial, video)
        yield writer
        if not writer.count:
            raise InputError("a clip needs at least one frame")
        _finish(partial, clock, writer.count, video, audio)


@dataclass
class PictureWriter:
    """Writes frames of one size as pictures into a folder."""

    folder: Path
    video: VideoFormat
    count: int = 0  # frames so far
    size: tuple[int, int] | None = None  # (height, width), from the first frame on, as is the encoder
    encoder: VideoCodecContext | None = None

    def write(self, frames: torch.Tensor) -> None:
        """frames [F, H, W, 3] in 0..1. Raises InputError for another size than before."""
        check_frames(frames, self.size)
        for rgb in frames:
            if self.encoder is None:
                self.size, self.encoder = rgb.shape[:2], _open_encoder(self.video, rgb.shape[:2])
            self.count += 1
            packets = self.encoder.encode(rgb_to_frame(rgb, self.video.pixels))
            _name_picture(self.folder, self.count).write_bytes(b"".join(map(bytes, packets)))


def join_pictures(
    folder: Path, parts: Sequence[Path], clock: Clock, video: VideoFormat, *, audio: Audio | None = None
) -> int:
    """Writes what `write_pictures` would have written of all parts' frames, and returns how many there are.

    parts: folders that `write_pictures` made. The pictures are copied, so that parts are whole until all is done.
    """
    check_pictures_folder(folder)
    with atomic_folder(folder) as partial:
        count = 0
        for picture in (path for part in parts for path in sorted(part.glob("*.png"), key=_read_number)):
            count += 1
            shutil.copyfile(picture, _name_picture(partial, count))
        _finish(partial, clock, count, video, audio)
    return count


def _name_picture(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.png"


def _read_number(path: Path) -> int:
    return int(path.stem)


def _finish(folder: Path, clock: Clock, count: int, video: VideoFormat, audio: Audio | None) -> None:
    """What lies beside the pictures."""
    if audio:
        _write_sound(folder / "sound.wav", audio, video.codec.sound, clock.seconds(count))
    if clock.ticks is not None:
        (folder / "timestamps.txt").write_text(_format_times(clock, count))


def check_pictures_folder(folder: Path) -> None:
    """Raises InputError for a file, and for a folder that holds anything that `write_pictures` does not write: it
    would be lost."""
    if folder.is_file():
        raise InputError(f"{folder} is a file; a folder of pictures is written there, so choose another --output")
    if folder.is_dir() and (others := _list_others(folder)):
        raise InputError(f"{folder} holds {min(others)}, which is no picture of a clip; choose another --output")


def is_pictures_folder(folder: Path) -> bool:
    """Whether it is one that `write_pictures` may have written, and nobody else added to."""
    return folder.is_dir() and not _list_others(folder)


def _list_others(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if not OWN_FILE.fullmatch(path.name)]


def _open_encoder(video: VideoFormat, size: tuple[int, int]) -> VideoCodecContext:
    encoder = VideoCodecContext.create(video.codec.encoder, "w")
    encoder.height, encoder.width = size
    encoder.pix_fmt, encoder.time_base, encoder.thread_count = video.pixels, Fraction(1), 1
    return encoder


def _write_sound(path: Path, audio: Audio, codec: str, seconds: Fraction) -> None:
    with av.open(f"file:{path}", "w", format="wav") as container:
        encode_audio(container, add_audio_stream(container, audio, codec), audio, seconds)


def _format_times(clock: Clock, count: int) -> str:
    """A line for each frame with its time in ms (mkvmerge's timestamp file format 2)."""
    lines = [f"{float(1000 * clock.seconds(i)):.6f}" for i in range(count)]
    return "\n".join(["# timestamp format v2", *lines, ""])
