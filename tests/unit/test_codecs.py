"""Every codec that this PyAV has: what it promises is in the file, ten bits are ten, and the bytes repeat."""

import av
import numpy as np
import pytest
import torch
from support.video_files import psnr, smooth_clip

from flashvideo_core.errors import InputError
from flashvideo_core.media import codecs
from flashvideo_core.media.codecs import CODECS, VideoFormat, check_crf, check_encoder, choose_format, has_encoder
from flashvideo_core.media.color import frame_to_rgb, rgb_to_frame
from flashvideo_core.media.picture_writer import write_pictures
from flashvideo_core.media.video_reader import read_video
from flashvideo_core.media.video_writer import write_video

FORMATS = [VideoFormat(codec, depth) for codec in CODECS.values() for depth in codec.bit_depths]
VIDEOS = [video for video in FORMATS if not video.is_pictures and has_encoder(video)]
NAMES = {"h264": "h264", "h265": "hevc", "av1": "av1", "prores": "prores"}


def name(video):
    return f"{video.codec.name}-{video.bit_depth}"


def slow_ramp(frames=2, height=64, width=1024):
    """A quarter of the range over the whole width: 56 levels in 8 bits, 219 in 10."""
    return (0.4 + torch.linspace(0, 0.25, width))[None, None, :, None].expand(frames, height, width, 3)


@pytest.mark.parametrize("video", VIDEOS, ids=name)
def test_a_file_is_what_was_asked_for(video, tmp_path):
    path, clip, record = tmp_path / f"a{video.suffix}", smooth_clip(5), {"flashvideo": '{"long": "' + 3000 * "x" + '"}'}
    assert write_video(path, clip, 8, metadata=record, video=video) == 5
    read = read_video(path)
    assert read.fps == 8 and record.items() <= read.metadata.items()
    assert psnr(read.frames, clip) > 42
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.codec.canonical_name, context.pix_fmt) == (NAMES[video.codec.name], video.pixels)
        frame = next(container.decode(stream))
        assert (frame.colorspace, frame.color_range) == (1, 1)
        assert stream.frames == 5 and stream.start_time == 0
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    assert video.codec.name != "h265" or b"hvc1" in data


@pytest.mark.parametrize("video", [video for video in VIDEOS if video.bit_depth == 10], ids=name)
def test_ten_bits_keep_what_eight_round_away(video, tmp_path):
    ramp = slow_ramp()
    write_video(tmp_path / f"a{video.suffix}", ramp, 8, crf=video.codec.max_crf and 1, video=video)
    write_video(tmp_path / "8.mp4", ramp, 8, crf=0)
    ten, eight = (read_video(tmp_path / file).frames for file in (f"a{video.suffix}", "8.mp4"))
    assert psnr(ten, ramp) > psnr(eight, ramp) + 6
    with av.open(str(tmp_path / f"a{video.suffix}")) as container:
        plane = next(container.decode(video=0)).planes[0]
    levels = np.frombuffer(plane, "<u2").reshape(plane.height, -1)[:, : plane.width]
    assert len(np.unique(levels)) > 200


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv420p10le", "yuv422p10le", "rgb24", "rgb48be"])
def test_planes_are_inverted_within_rounding(pixels):
    """Rounding of luma (219 levels a range) and of blue's colour difference (1.86 of 224) at this depth."""
    clip, depth = smooth_clip(1, 64, 96)[0], {"rgb24": 8, "yuv420p": 8, "rgb48be": 16}.get(pixels, 10)
    rounding = 0.5 / (2**depth - 1) if "rgb" in pixels else (0.5 / 219 + 1.86 * 0.5 / 224) / 2 ** (depth - 8)
    curvature = 0.0006 if "yuv" in pixels else 1e-6  # of the blob, which linear chroma does not follow
    assert (frame_to_rgb(rgb_to_frame(clip, pixels)) - clip)[2:-2, 2:-2].abs().max() < rounding + curvature


@pytest.mark.parametrize("video", VIDEOS, ids=name)
def test_the_same_frames_give_the_same_bytes(video, tmp_path):
    """Also where a side is as short as a coding block, at which x265 with its default settings damages memory."""
    noise, path = np.random.default_rng(0), tmp_path / "a"
    for size in ((32, 48), (64, 64)):
        clip, seen = smooth_clip(9, *size), set()
        for _ in range(3):
            churn = [noise.bytes(int(n)) for n in noise.integers(1000, 300000, 40)]
            del churn[::2]
            write_video(path, clip, 8, video=video)
            seen.add(path.read_bytes())
        assert len(seen) == 1


@pytest.mark.parametrize("depth", [8, 16])
def test_pictures_are_exact_to_their_depth(depth, tmp_path):
    clip = smooth_clip(3, 31, 45)
    assert write_pictures(tmp_path / "final", clip.split(1), 8, choose_format("png", depth)) == 3
    assert sorted(path.name for path in (tmp_path / "final").iterdir()) == [f"0000{i}.png" for i in (1, 2, 3)]
    for i, picture in enumerate(clip, 1):
        found = read_video(tmp_path / "final" / f"0000{i}.png").frames[0]
        assert (found - picture).abs().max() <= 0.5001 / (2**depth - 1)
    first = {path.name: path.read_bytes() for path in (tmp_path / "final").iterdir()}
    write_pictures(tmp_path / "final", clip[:2], 8, choose_format("png", depth))  # in place of the longer one
    assert {path.name: path.read_bytes() for path in (tmp_path / "final").iterdir()}.items() < first.items()


def test_a_folder_with_something_else_in_it_is_not_replaced(tmp_path):
    (tmp_path / "final").mkdir()
    (tmp_path / "final" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"final holds notes\.txt, which is no picture of a clip"):
        write_pictures(tmp_path / "final", smooth_clip(1), 8, choose_format("png", 8))
    with pytest.raises(InputError, match="is a file; a folder of pictures is written there"):
        write_pictures(tmp_path / "final" / "notes.txt", smooth_clip(1), 8, choose_format("png", 8))
    assert [path.name for path in tmp_path.rglob("*")] == ["final", "notes.txt"]


def test_codecs_depths_and_qualities_that_there_are_not():
    for codec, depth, rule in (
        ("h266", None, "codec is 'h266'; it must be one of h264, h265, av1, prores, png"),
        ("prores", 8, "bit_depth is 8; it must be 10 for prores"),
        ("png", 10, "bit_depth is 10; it must be 8 or 16 for png"),
    ):
        with pytest.raises(InputError, match=rule):
            choose_format(codec, depth)
    assert name(choose_format("prores", None)) == "prores-10" and name(choose_format(None, 10)) == "h264-10"
    assert check_crf(choose_format("av1", 8), 63) == 63 and check_crf(choose_format("png", 8), None) is None
    for video, crf, rule in (
        (choose_format("h265", 8), 52, "crf is 52; it must be 0 .the best. to 51 for h265"),
        (choose_format("av1", 8), 64, "to 63 for av1"),
        (choose_format("prores", 10), 10, "crf is 10; prores has no quality to choose"),
    ):
        with pytest.raises(InputError, match=rule):
            check_crf(video, crf)


def test_an_encoder_that_pyav_lacks_is_named_with_those_it_has(monkeypatch, tmp_path):
    """PyAV is built with what its FFmpeg has: here one without AV1, and with an H.264 of 8 bits."""
    kept = {"h264": CODECS["h264"], "av1": codecs.Codec("av1", "libnone", "mp4", codecs.YUV420, 63, 20)}
    monkeypatch.setattr(codecs, "CODECS", kept)
    with pytest.raises(InputError, match=r"no encoder for av1 in 8 bits \(libnone\); it has h264 in 8 bits"):
        check_encoder(choose_format("av1", 8))
    odd = VideoFormat(codecs.Codec("h264", "libx264", "mp4", ((12, "yuv420p12le"),)), 12)
    with pytest.raises(InputError, match="no encoder for h264 in 12 bits"):
        write_video(tmp_path / "a.mp4", smooth_clip(1), 8, video=odd)
    assert not list(tmp_path.iterdir())


def test_sizes_that_a_codec_does_not_have(tmp_path):
    for codec, size, rule in (
        ("h265", (16, 16), "more than 16 rows or columns, got 16x16"),
        ("prores", (32, 47), "prores in yuv422p10le needs an even width, got 32x47"),
        ("av1", (33, 48), "av1 in yuv420p needs an even height and width, got 33x48"),
    ):
        with pytest.raises(InputError, match=rule):
            write_video(tmp_path / "a", smooth_clip(1, *size), 8, video=choose_format(codec, None))
    assert write_video(tmp_path / "a.mov", smooth_clip(1, 33, 48), 8, video=choose_format("prores", None)) == 1
