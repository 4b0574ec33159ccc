"""File to frames: every odd input is read and said, or refused in one line that names it."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from support.video_files import encode_clip, psnr, smooth_clip

from flashvideo_core.media.video_reader import probe_video, read_video
from flashvideo_core.media.video_writer import write_video


def test_round_trip_is_frame_exact_and_close(tmp_path):
    clip = smooth_clip(17)
    assert write_video(tmp_path / "a.mp4", clip, 8) == 17
    video = read_video(tmp_path / "a.mp4")
    assert video.frames.shape == clip.shape and video.frames.dtype == torch.float32
    assert video.fps == 8 and video.notes == () and video.audio is None
    assert min(psnr(a, b) for a, b in zip(video.frames, clip, strict=True)) > 40


def test_start_and_max_frames_take_an_excerpt(tmp_path):
    write_video(tmp_path / "a.mp4", smooth_clip(17), 8)
    whole, part = read_video(tmp_path / "a.mp4"), read_video(tmp_path / "a.mp4", start=5, max_frames=4)
    assert torch.equal(part.frames, whole.frames[5:9]) and part.fps == 8 and part.notes == ()
    with pytest.raises(ValueError, match="no frame could be decoded from number 17 on"):
        read_video(tmp_path / "a.mp4", start=17)
    with pytest.raises(ValueError, match="max_frames at least 1, got 0 and 0"):
        read_video(tmp_path / "a.mp4", max_frames=0)


def test_variable_frame_rate_is_resampled_and_said(tmp_path):
    pts = [0, 100, 200, 300, 400, 500, 600, 1200, 1800]  # 10 fps, then 1 2/3 fps: 40/9 on average
    clip = smooth_clip(9)
    encode_clip(tmp_path / "a.mkv", clip, pts=pts, max_b_frames=0)
    video = read_video(tmp_path / "a.mkv")
    assert len(video.notes) == 1 and "variable frame rate" in video.notes[0] and "4.444 fps" in video.notes[0]
    assert video.fps == Fraction(40, 9) and len(video.frames) == 9
    shown = [min(range(9), key=lambda i: abs(pts[i] - k * 225)) for k in range(9)]
    assert psnr(video.frames, clip[shown]) > 35 > psnr(video.frames, clip)


@pytest.mark.parametrize("fps", [Fraction(24000, 1001), Fraction(30), Fraction(60)])
def test_times_rounded_to_milliseconds_are_not_variable(tmp_path, fps):
    encode_clip(tmp_path / "a.mkv", smooth_clip(30, 32, 32), rate=fps, pts=[round(1000 * i / fps) for i in range(30)])
    video = read_video(tmp_path / "a.mkv")
    assert video.notes == () and video.fps == fps and len(video.frames) == 30


@pytest.mark.parametrize("size", [(33, 47), (33, 48), (32, 47)])
def test_odd_sizes_are_read(tmp_path, size):
    clip = (
        smooth_clip(5, *size).mean(-1, keepdim=True).expand(-1, -1, -1, 3)
    )  # grey: what swscale makes of colour varies
    encode_clip(tmp_path / "a.mkv", clip, codec="ffv1", pixels="yuv420p")
    frames = read_video(tmp_path / "a.mkv").frames
    assert frames.shape == clip.shape and psnr(frames, clip) > 45


def test_one_frame_and_a_picture_are_one_frame(tmp_path):
    clip = smooth_clip(1)
    encode_clip(tmp_path / "a.mkv", clip)
    encode_clip(tmp_path / "a.png", clip, codec="png", pixels="rgb24")
    video, picture = read_video(tmp_path / "a.mkv"), read_video(tmp_path / "a.png")
    assert video.frames.shape == picture.frames.shape == (1, 64, 96, 3) and video.fps == 8 and picture.fps > 0
    assert psnr(video.frames, clip) > 35 and (picture.frames - clip).abs().max() < 0.003
    info = probe_video(tmp_path / "a.png")
    assert (info.height, info.width, info.frames, info.has_audio) == (64, 96, 1, False)


def test_alpha_is_ignored_and_said(tmp_path):
    clip = smooth_clip(3)
    encode_clip(tmp_path / "a.mov", torch.cat([clip, torch.full((3, 64, 96, 1), 0.4)], -1), codec="png", pixels="rgba")
    video = read_video(tmp_path / "a.mov")
    assert video.notes == ("alpha ignored",) and (video.frames - clip).abs().max() < 0.003
    encode_clip(tmp_path / "b.mkv", clip, codec="ffv1", pixels="yuva420p")
    assert read_video(tmp_path / "b.mkv").notes == ("alpha ignored",)


def test_ten_bits_are_read_without_loss_and_said(tmp_path):
    frame = av.VideoFrame(96, 64, "yuv420p10le")
    codes = (400 + np.arange(96)).astype(np.uint16)  # steps of a quarter of an 8-bit code
    for plane, row in zip(frame.planes, (codes, np.full(48, 512, np.uint16), np.full(48, 512, np.uint16)), strict=True):
        rows = np.zeros((plane.height, plane.line_size // 2), np.uint16)
        rows[:, : len(row)] = row
        plane.update(rows.tobytes())
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=8)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p10le"
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    video = read_video(tmp_path / "a.mkv")
    assert video.notes == ("10 bits a colour, read without loss",)
    expected = torch.from_numpy((codes - 64.0) / 876)[:, None]
    assert (video.frames[0] - expected).abs().max() < 1e-5


def test_deep_grey_is_read_and_said(tmp_path):
    clip = smooth_clip(2).mean(-1, keepdim=True).expand(-1, -1, -1, 3)
    encode_clip(tmp_path / "a.mkv", clip, codec="ffv1", pixels="gray10le")
    video = read_video(tmp_path / "a.mkv")
    assert "10 bits" in video.notes[0] and (video.frames - clip).abs().max() < 0.01


@pytest.mark.skipif(
    not hasattr(av.video.stream.VideoStream, "set_display_rotation"), reason="this PyAV writes no rotation"
)
@pytest.mark.parametrize("degrees, turns", [(90, 1), (180, 2), (-90, 3)])
def test_rotation_is_applied_and_said(tmp_path, degrees, turns):
    clip = smooth_clip(3)
    encode_clip(tmp_path / "a.mp4", clip, rotation=degrees)
    video = read_video(tmp_path / "a.mp4")
    assert any(f"rotated by {degrees % 360} degrees counterclockwise" in note for note in video.notes)
    assert psnr(video.frames, torch.rot90(clip, turns, (1, 2))) > 30
    assert probe_video(tmp_path / "a.mp4").height == video.frames.shape[1]


def test_what_is_not_a_video_is_one_line_that_names_it(tmp_path):
    files = {
        "text.txt": b"hello\n" * 100,
        "text.mp4": b"hello\n" * 100,
        "empty.mp4": b"",
        "noise.mkv": np.random.default_rng(0).bytes(5000),
        "subtitle.srt": b"1\n00:00:01,000 --> 00:00:02,000\nhi\n",
        "list.m3u8": b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    for path in [*(tmp_path / name for name in files), tmp_path, tmp_path / "absent.mp4", "http://127.0.0.1:9/a.mp4"]:
        for reader in (read_video, probe_video):
            with pytest.raises(ValueError) as caught:
                reader(path)
            message = str(caught.value)
            assert message.startswith(f"{path}: ") and "\n" not in message
            assert caught.value.__cause__ is None and (
                caught.value.__context__ is None or caught.value.__suppress_context__
            )


def test_a_truncated_file_gives_what_is_there_and_says_so_or_is_refused(tmp_path):
    noisy = torch.rand(30, 64, 96, 3, generator=torch.Generator().manual_seed(0))
    write_video(tmp_path / "a.mp4", noisy, 8)
    data = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 6 // 10])
    video = read_video(tmp_path / "cut.mp4")
    assert 1 <= len(video.frames) < 30
    assert any("incomplete" in note and "of 30 frames" in note for note in video.notes)
    (tmp_path / "head.mp4").write_bytes(data[:200])
    with pytest.raises(ValueError, match=r"head\.mp4: .*cut off"):
        read_video(tmp_path / "head.mp4")
