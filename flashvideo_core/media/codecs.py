"""How a clip can be stored: a codec with its encoder, bit depth, container and range of quality.

Which encoders there are depends on how PyAV's FFmpeg was built; `check_encoder` asks it. Nothing here imports PyAV or
torch before that, so that the command line can list the codecs at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InputError

PICTURES = "png"  # in place of a container: a folder of pictures


@dataclass(frozen=True)
class Codec:
    """pixels: bits a colour and FFmpeg's pixel format for them, the default first. max_crf: the lowest quality (0 is
    the best), None for a codec that has one quality only; crf: the quality where nobody names one."""

    name: str
    encoder: str
    container: str
    pixels: tuple[tuple[int, str], ...]
    max_crf: int | None = None
    crf: float | None = None
    sound: str = "aac"

    @property
    def bit_depths(self) -> tuple[int, ...]:
        return tuple(depth for depth, _ in self.pixels)


@dataclass(frozen=True)
class VideoFormat:
    """A codec at one of its bit depths."""

    codec: Codec
    bit_depth: int

    @property
    def pixels(self) -> str:
        return dict(self.codec.pixels)[self.bit_depth]

    @property
    def is_pictures(self) -> bool:
        """Whether it is a folder of pictures rather than a file."""
        return self.codec.container == PICTURES

    @property
    def suffix(self) -> str:
        """Of the file; "" for a folder."""
        return "" if self.is_pictures else f".{self.codec.container}"


YUV420 = ((8, "yuv420p"), (10, "yuv420p10le"))
CODECS = {
    codec.name: codec
    for codec in (
        Codec("h264", "libx264", "mp4", YUV420, 51, 17),
        Codec("h265", "libx265", "mp4", YUV420, 51, 17),
        Codec("av1", "libsvtav1", "mp4", YUV420, 63, 20),
        Codec("prores", "prores_ks", "mov", ((10, "yuv422p10le"),), sound="pcm_s16le"),
        Codec("png", "png", PICTURES, ((8, "rgb24"), (16, "rgb48be")), sound="pcm_s16le"),
    )
}
H264 = VideoFormat(CODECS["h264"], 8)
BIT_DEPTHS = tuple(sorted({depth for codec in CODECS.values() for depth in codec.bit_depths}))
MAX_CRF = max(codec.max_crf or 0 for codec in CODECS.values())


def choose_format(codec: str | None, bit_depth: int | None) -> VideoFormat:
    """None: H.264, and the codec's default depth. Raises InputError for a codec or depth that there is not."""
    name = codec or H264.codec.name
    if name not in CODECS:
        raise InputError(f"codec is {name!r}; it must be one of {', '.join(CODECS)}")
    chosen = CODECS[name]
    depth = chosen.bit_depths[0] if bit_depth is None else bit_depth
    if depth not in chosen.bit_depths:
        raise InputError(f"bit_depth is {depth}; it must be {' or '.join(map(str, chosen.bit_depths))} for {name}")
    return VideoFormat(chosen, depth)


def check_crf(video: VideoFormat, crf: float | None) -> float | None:
    """The quality to encode with; None takes the codec's default, and is what a codec without one has.

    Raises InputError for one that the codec does not have.
    """
    codec = video.codec
    if crf is None:
        return codec.crf
    if codec.max_crf is None:
        raise InputError(f"crf is {crf:g}; {codec.name} has no quality to choose, so leave it out")
    if not 0 <= crf <= codec.max_crf:  # NaN fails too
        raise InputError(f"crf is {crf:g}; it must be 0 (the best) to {codec.max_crf} for {codec.name}")
    return crf


def check_encoder(video: VideoFormat) -> None:
    """Raises InputError where PyAV has no encoder for it, and says which there are."""
    if has_encoder(video):
        return
    formats = [VideoFormat(codec, depth) for codec in CODECS.values() for depth in codec.bit_depths]
    there = ", ".join(f"{found.codec.name} in {found.bit_depth} bits" for found in formats if has_encoder(found))
    lacking = f"PyAV here has no encoder for {video.codec.name} in {video.bit_depth} bits ({video.codec.encoder})"
    raise InputError(f"{lacking}; it has {there or 'none of ours'}")


def has_encoder(video: VideoFormat) -> bool:
    from av.codec import Codec as Encoder

    try:
        pixels = Encoder(video.codec.encoder, "w").video_formats
    except ValueError:  # PyAV's UnknownCodecError
        return False
    return pixels is None or video.pixels in {found.name for found in pixels}
