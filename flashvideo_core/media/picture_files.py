"""What the header of a picture file says and FFmpeg does not tell: orientation (EXIF), pages (TIFF), animation (WebP).

Orientation is read here, not from the decoder: which formats FFmpeg reads it from depends on its version, and PyAV
cannot list the side data of a frame that has EXIF beside its display matrix.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

ORIENTATION = 0x0112  # TIFF 6.0, section 8; 1..8, as in EXIF
PNG = b"\x89PNG\r\n\x1a\n"
TIFF = (b"II*\0", b"MM\0*")
Buffer = bytes | mmap.mmap


def read_exif_orientation(path: Path) -> int:
    """1..8 as tagged in a JPEG, PNG, WebP or TIFF; 1 (upright) without a tag and for every other file."""
    with path.open("rb") as file:
        tiff = _find_tiff(file)
        page = next(_page_offsets(tiff), None)
        tagged = 1 if page is None else _read_tag(tiff, page, ORIENTATION)
    return tagged if tagged in range(1, 9) else 1


def count_tiff_pages(path: Path) -> int:
    """How many pages a TIFF has; 0 for every other file."""
    with path.open("rb") as file:
        return sum(1 for _ in _page_offsets(_map_tiff(file)))


def is_animated_webp(path: Path) -> bool:
    """Whether a WebP has more than one frame (flag "Animation" of its VP8X chunk, RFC 9649 section 2.7.1)."""
    with path.open("rb") as file:
        head = file.read(21)
    return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) == 21 and bool(head[20] & 0x02)


def _find_tiff(file: BinaryIO) -> Buffer:
    """The TIFF structure that holds a picture's tags; b"" where there is none."""
    head = file.read(12)
    if head[:4] in TIFF:
        return _map_tiff(file)
    if head[:2] == b"\xff\xd8":
        chunks, wanted = _jpeg_segments(file), 0xE1
    elif head[:8] == PNG:
        chunks, wanted = _png_chunks(file), b"eXIf"
    elif head[:4] == b"RIFF" and head[8:] == b"WEBP":
        chunks, wanted = _riff_chunks(file), b"EXIF"
    else:
        return b""
    bodies = (file.read(size).removeprefix(b"Exif\0\0") for kind, size in chunks if kind == wanted)
    return next((body for body in bodies if body[:4] in TIFF), b"")


def _map_tiff(file: BinaryIO) -> Buffer:
    """The whole of a TIFF file, mapped into memory; b"" for every other file."""
    file.seek(0)
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if file.read(4) in TIFF else b""


def _jpeg_segments(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Marker and size of each segment before the picture itself; the file stands at its content."""
    at = 2
    while file.seek(at) and len(head := file.read(4)) == 4 and head[0] == 0xFF and head[1] != 0xDA:
        size = int.from_bytes(head[2:], "big")
        yield head[1], max(0, size - 2)
        at += 2 + max(2, size)


def _png_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    at = 8
    while file.seek(at) and len(head := file.read(8)) == 8:
        size = int.from_bytes(head[:4], "big")
        yield head[4:], size
        at += 12 + size  # its checksum too


def _riff_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    at = 12
    while file.seek(at) and len(head := file.read(8)) == 8:
        size = int.from_bytes(head[4:], "little")
        yield head[:4], size
        at += 8 + size + size % 2


def _page_offsets(tiff: Buffer) -> Iterator[int]:
    """Where each page's directory starts; ends where the file is cut off or leads back to a page already seen."""
    link, seen = 4, set()
    try:
        while (at := _unpack("I", tiff, link)) and at not in seen:
            seen.add(at)
            link = at + 2 + 12 * _unpack("H", tiff, at)
            yield at
    except struct.error:
        return


def _read_tag(tiff: Buffer, page: int, wanted: int) -> int:
    """The number (of 16 bits) that a page's directory has under this tag; 0 where it has none."""
    entries = [page + 2 + 12 * i for i in range(_unpack("H", tiff, page))]
    try:
        return next((_unpack("H", tiff, at + 8) for at in entries if _unpack("H", tiff, at) == wanted), 0)
    except struct.error:
        return 0


def _unpack(kind: str, tiff: Buffer, at: int) -> int:
    return struct.unpack_from(("<" if tiff[:2] == b"II" else ">") + kind, tiff, at)[0]
