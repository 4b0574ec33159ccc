"""Every odd video and picture of ../shared/cases: its first frame, size, rate, frame count, sound, and what is said.

The pictures are red, green, blue and grey in their four quarters, 96x64, nine of them at 8 fps where nothing else is
written here.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

import pytest
import torch
from support.case_files import make_case_files

from flashvideo_core.errors import InputError
from flashvideo_core.media.video_reader import Video, probe_video, read_video

COLOURS = {"R": (200, 30, 30), "G": (30, 180, 30), "B": (30, 30, 200), "K": (120, 120, 120)}
GREYS = {"R": (81, 81, 81), "G": (118, 118, 118), "B": (49, 49, 49), "K": (120, 120, 120)}  # luma of BT.601
UPRIGHT, ODD = "RG BK", (47, 63)


@dataclass(frozen=True)
class Shown:
    """What a file must give. corners: quarters, row by row; None where the file does not keep the colours."""

    corners: str | None = UPRIGHT
    size: tuple[int, int] = (64, 96)
    fps: str = "8"
    frames: int = 9
    notes: tuple[str, ...] = ()  # one pattern each
    sound: tuple[int, int] | None = None  # channels, Hz
    off: int = 12  # of 255, how far a colour may be
    grey: bool = False


def deep(bits: int, *notes: str, **others) -> Shown:
    return Shown(notes=(*notes, f"{bits} bits a colour"), **others)


ALPHA, GIVEN_AS = "alpha ignored", "its sound changes its rate or channels on the way; all of it is converted to"
PICTURE = {"frames": 1, "fps": "25"}

SHOWN = {
    "plain.mp4": Shown(),
    # orientation, aspect
    "rot90.mp4": Shown("GK RB", (96, 64), notes=("rotated by 90 degrees",)),
    "rot180.mp4": Shown("KB GR", notes=("rotated by 180 degrees",)),
    "rot270.mp4": Shown("BR KG", (96, 64), notes=("rotated by 270 degrees",)),
    "rot45.mp4": Shown(notes=("tagged as rotated by 45 degrees counterclockwise, which is not applied",)),
    "hflip.mp4": Shown("GR KB", notes=("mirrored left to right, as tagged",)),
    "vflip.mp4": Shown("BK RG", notes=("mirrored top to bottom, as tagged",)),
    "rot90_hflip.mp4": Shown("KG BR", (96, 64), notes=("mirrored left to right and rotated by 270 degrees",)),
    "exif2.jpg": Shown("GR KB", **PICTURE, notes=("mirrored left to right",)),
    "exif6.jpg": Shown("BR KG", (96, 64), **PICTURE, notes=("rotated by 270 degrees",)),
    "sar.mp4": Shown(size=(64, 114), notes=("pixels of 32:27, scaled from 96x64 to 114x64",)),
    "sar2.mp4": Shown(size=(64, 192), notes=("pixels of 2:1, scaled from 96x64 to 192x64",)),
    # rates and times
    "vfr.mp4": Shown(fps="10", notes=("variable frame rate, resampled to its average of 10.000 fps",)),
    "vfr_gap.mp4": Shown(fps="8/3", notes=("variable frame rate, resampled to its average of 2.667 fps",)),
    "fps_24000-1001.mp4": Shown(fps="24000/1001"),
    "fps_60000-1001.mp4": Shown(fps="60000/1001"),
    "fps_1000.mp4": Shown(fps="1000"),
    "fps_15000.mp4": Shown(fps="15000"),
    "fps_1-10.mp4": Shown(fps="1/10"),
    "fps_1-3600.mp4": Shown(fps="1/3600"),
    "fps_120.mp4": Shown(fps="120"),
    "fps_12.5.mp4": Shown(fps="25/2"),
    "fps_3.mp4": Shown(fps="3"),
    "fps_29.97.mp4": Shown(fps="2997/100"),
    "fps5994.mkv": Shown(fps="60000/1001"),
    "fps2997.avi": Shown(fps="30000/1001"),
    "fps.flv": Shown(fps="24000/1001"),
    "joined.ts": Shown(frames=18, notes=("its times are not in order: .* at the declared 8 fps",)),
    "start5.mkv": Shown(),
    "cut_copy.mp4": Shown(frames=5, sound=(1, 48000)),
    "cut_copy2.mkv": Shown(sound=(1, 48000)),
    "cut_by_copy.mp4": Shown(fps="25", frames=40),
    **{f"n{n}.mp4": Shown(frames=n) for n in (1, 2, 3, 4, 5)},
    # containers and codecs
    **{name: Shown(fps="25") for name in ("plain.ts", "plain.wmv", "raw.h264", "raw.mjpeg", "av1.mp4", "bf.avi")},
    "y4m.y4m": Shown(fps="25"),
    "interlaced.mpg": Shown(fps="25", frames=28, notes=("interlaced",)),
    "interlaced.mp4": Shown(notes=("interlaced",)),
    "concat.ffconcat": Shown(),
    # sound
    "audio_mono.mp4": Shown(sound=(1, 48000)),
    **{f"audio_{name}.mp4": Shown(sound=(2, 48000)) for name in ("stereo", "quad", "51", "71")},
    **{f"audio_{name}.mkv": Shown(sound=(2, 48000)) for name in ("3ch_unknown", "16ch")},
    **{f"audio_{name}.mp4": Shown(sound=(1, 48000)) for name in ("late", "early", "short", "long", "two")},
    "audio_192k.mkv": Shown(sound=(1, 192000)),
    "audio_7350.mkv": Shown(sound=(1, 7350)),
    "audio_opus.mkv": Shown(sound=(1, 48000)),
    "audio_u8.avi": Shown(sound=(1, 22050), notes=("its times are not in order: .* at the declared 8 fps",)),
    "audio_undecodable.mp4": Shown(notes=("its sound has no decoder here and is left out",)),
    "audio_changes.mkv": Shown(fps="4", sound=(1, 48000), notes=(GIVEN_AS, "its sound is damaged: 1 packets")),
    "audio_changes.ts": Shown(sound=(1, 44100), notes=(f"{GIVEN_AS} 44100 Hz mono",)),
    # cover pictures, several films
    **dict.fromkeys(("cover.mp4", "cover_first.mp4", "cover_first.mkv", "cover_in_front.mp4"), Shown()),
    "two_videos.mkv": Shown(),
    # pixel formats
    **{f"pix_{name}.mkv": Shown() for name in ("bgr0", "gbrp", "rgb24", "yuv410p", "yuv411p", "yuv422p", "yuv440p")},
    "pix_yuv444p.mkv": Shown(),
    **{f"pix_{name}.mkv": Shown(notes=(ALPHA,)) for name in ("bgra", "yuva420p")},
    **{f"pix_{name}.mkv": deep(10) for name in ("yuv420p10le", "yuv444p10le", "gbrp10le")},
    **{f"pix_{name}.mkv": deep(10, ALPHA) for name in ("yuva422p10le", "yuva444p10le")},
    **{f"pix_{name}.mkv": deep(16) for name in ("yuv420p16le", "rgb48le")},
    "pix_rgba64le.mkv": deep(16, ALPHA),
    "pix_v210.mov": deep(10),
    "pix_xyz12le.nut": deep(12),
    "pix_gray.mkv": Shown(grey=True),
    "pix_gray10le.mkv": deep(10, grey=True),
    "pix_gray16le.mkv": deep(16, grey=True),
    "pix_ya8.nut": Shown(grey=True, notes=(ALPHA,)),
    **{f"pix_{name}.nut": Shown() for name in ("nv12", "uyvy422", "yuyv422", "rgb565le")},
    **{f"pix_{name}.nut": Shown(off=60) for name in ("pal8", "rgb8")},
    **{f"pix_{name}.nut": Shown(None) for name in ("monow", "monob", "bgr4_byte")},  # dithered
    "pix_p010le.nut": Shown(None),  # FFmpeg writes and reads another format there
    "pix_yuvj420p.nut": Shown(off=20),  # raw video does not keep the range
    "alpha.webm": Shown(),
    "x264rgb.mp4": Shown(),
    **{f"hdr_{name}.mp4": Shown(notes=("10 bits", "HDR transfer")) for name in ("arib-std-b67", "smpte2084")},
    **dict.fromkeys(("fullrange.mp4", "bt709.mp4", "ycgco.mp4"), Shown()),
    "bt2020c.mp4": Shown(off=24),  # its constant luminance is read as the ordinary matrix
    # sizes
    **dict.fromkeys(("odd.mkv", "odd.webm"), Shown(size=ODD, frames=5)),
    "size_1x1.mkv": Shown(None, (1, 1), frames=5),
    "size_2x2.mkv": Shown(None, (2, 2), frames=5),
    "size_16x4096.mkv": Shown(size=(4096, 16), frames=5),
    "size_3x200.mkv": Shown(size=(200, 3), frames=5),
    # pictures
    **dict.fromkeys(("anim.webp", "anim.apng"), Shown()),
    "anim.gif": Shown(off=60, notes=(ALPHA,)),
    "anim_pil.webp": Shown(fps="10"),
    "gif_delays.gif": Shown(fps="200/33", notes=(ALPHA, "variable frame rate, resampled to its average of 6.061 fps")),
    "gif_zero.gif": Shown(fps="10", notes=(ALPHA,)),
    **{f"still.{kind}": Shown(**PICTURE) for kind in ("png", "jpg", "webp", "bmp")},
    "many.tiff": Shown(**PICTURE),
    "multi.tiff": Shown(**PICTURE, notes=("9 pages, of which the first is read",)),
    "la.png": Shown(**PICTURE, grey=True, notes=(ALPHA,)),
    "i16.png": deep(16, corners=None, **PICTURE),  # Pillow writes 8-bit values as 16-bit ones: black
    "cmyk.jpg": Shown(**PICTURE, notes=(ALPHA,)),
    "transparent.png": Shown(**PICTURE, notes=(ALPHA,)),
}

REFUSED = {
    "zero.mp4": "is an empty file",
    "html.mp4": r"is a web page \(HTML\)",
    "lfs.mp4": "is a Git LFS pointer",
    **dict.fromkeys(("list.m3u8", "trunc_nomoov.mp4"), "not a video file"),
    **dict.fromkeys(("notes.txt", "only_audio.m4a"), r"has no video in it \(or is cut off"),
    "song.mp3": "has no video in it but a cover picture",
    "corrupt_middle.mp4": "no frame could be decoded",  # nor by ffmpeg: the frame that all others need is gone
    "trunc_fast.mp4": "no frame could be decoded",
    "resize.ts": "its frames change size",
}


@pytest.fixture(scope="session")
def cases(tmp_path_factory):
    return make_case_files(tmp_path_factory.mktemp("cases"))


def test_no_case_is_forgotten(cases):
    made = {path.name for path in cases.iterdir() if not path.name.startswith("_")}
    assert made == SHOWN.keys() | REFUSED.keys()


@pytest.mark.parametrize("name", SHOWN)
def test_file_is_shown_as_it_should_be(cases, name):
    expected, video, info = SHOWN[name], read_video(cases / name), probe_video(cases / name)
    assert video.frames.shape == (expected.frames, *expected.size, 3)
    assert (video.fps, info.fps) == (Fraction(expected.fps), Fraction(expected.fps))
    assert (info.frames, info.height, info.width) == (expected.frames, *expected.size)
    assert len(video.notes) == len(expected.notes), video.notes
    assert all(re.match(said, note) for said, note in zip(expected.notes, video.notes, strict=True)), video.notes
    assert describe_sound(video) == expected.sound and info.has_audio == (expected.sound is not None)
    if expected.corners:
        check_corners(video.frames[0], expected)


@pytest.mark.parametrize(
    "name", ["plain.mp4", "audio_u8.avi", "bf.avi", "joined.ts", "fps5994.mkv", "cut_copy2.mkv", "anim.webp"]
)
def test_every_frame_is_in_its_place(cases, name):
    """A white bar stands in the middle rows, 4 pixels further right in each frame."""
    frames = read_video(cases / name).frames
    bar = frames[:, 32].mean(-1).reshape(len(frames), 24, 4).mean(-1)
    assert bar.argmax(1).tolist() == [i % 9 for i in range(len(frames))]


@pytest.mark.parametrize("name", REFUSED)
def test_file_is_refused_in_one_line_that_names_it(cases, name):
    with pytest.raises(InputError, match=f"^{re.escape(str(cases / name))}: {REFUSED[name]}[^\n]*$"):
        read_video(cases / name)


def describe_sound(video: Video) -> tuple[int, int] | None:
    if video.audio is None:
        return None
    assert video.audio.samples.shape[1] == round(len(video.frames) / video.fps * video.audio.rate)
    assert video.audio.samples.abs().max() > 0.05
    return video.audio.samples.shape[0], video.audio.rate


def check_corners(picture: torch.Tensor, expected: Shown) -> None:
    height, width = expected.size
    colours = GREYS if expected.grey else COLOURS
    for y, row in enumerate(expected.corners.split()):
        for x, letter in enumerate(row):
            seen = 255 * picture[(1 + 2 * y) * height // 4, (1 + 2 * x) * width // 4]
            assert (seen - torch.tensor(colours[letter])).abs().max() <= expected.off, (y, x, seen, letter)
