"""Files in and out: exact frames, true BT.709, whole files or none, and every odd input said or refused in one line."""

import math
import os
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from flashvideo_core.media import color
from flashvideo_core.media.audio import Audio
from flashvideo_core.media.video_reader import probe_video, read_video
from flashvideo_core.media.video_writer import put_side_by_side, write_video
from flashvideo_core.weights.atomic import check_writable


def smooth_clip(frames=9, height=64, width=96):
    """[F, H, W, 3] in 0..1: a soft blob that moves over a colour gradient; frame f is told apart by its brightness."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    base = torch.stack([x, y, 1 - x], dim=-1) * 0.5
    blobs = [torch.exp(-((x - 0.2 - 0.05 * f) ** 2 + (y - 0.5) ** 2) / 0.02) for f in range(frames)]
    return torch.stack([base + 0.3 * blob[..., None] + 0.02 * f for f, blob in enumerate(blobs)]).clamp(0, 1)


def psnr(a, b):
    return -10 * math.log10((a - b).square().mean().item())


def encode(path, clip, codec="libx264", pixels="yuv420p", pts=None, rate=8, rotation=None, **context):
    """A test file written with PyAV alone; pts in 1/1000 s."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = *clip.shape[1:3], pixels
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        for key, value in context.items():
            setattr(stream.codec_context, key, value)
        for i, picture in enumerate((clip * 255).round().byte().numpy()):
            kind = "rgba" if picture.shape[-1] == 4 else "rgb24"
            frame = av.VideoFrame.from_ndarray(picture, kind)
            frame.pts, frame.time_base = (pts[i] if pts else i * 1000 // rate), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_round_trip_is_frame_exact_and_close(tmp_path):
    clip = smooth_clip(17)
    assert write_video(tmp_path / "a.mp4", clip, 8) == 17
    video = read_video(tmp_path / "a.mp4")
    assert video.frames.shape == clip.shape and video.frames.dtype == torch.float32
    assert video.fps == 8 and video.notes == () and video.audio is None
    assert min(psnr(a, b) for a, b in zip(video.frames, clip, strict=True)) > 40


@pytest.mark.parametrize("count", [1, 2, 5, 49])
@pytest.mark.parametrize("fps", [8, Fraction(24000, 1001), 29.97])
def test_frame_count_and_rate_are_kept(tmp_path, count, fps):
    clip = smooth_clip(count, 32, 32)
    write_video(tmp_path / "a.mp4", clip, fps)
    video, info = read_video(tmp_path / "a.mp4"), probe_video(tmp_path / "a.mp4")
    assert len(video.frames) == info.frames == count
    assert video.fps == info.fps == (fps if isinstance(fps, Fraction) else Fraction(fps).limit_denominator(1001))
    means = video.frames.mean((1, 2, 3))
    assert (means - clip.mean((1, 2, 3))).abs().max() < 0.004  # every frame in its place


def test_stream_is_tagged_and_of_the_promised_kind(tmp_path):
    write_video(tmp_path / "a.mp4", smooth_clip(5), 8)
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.color_range, context.colorspace) == (1, 1)
        assert (context.color_primaries, context.color_trc) == (1, 1)
        assert stream.frames == 5 and stream.average_rate == 8 and stream.start_time == 0
        steps = np.diff([frame.pts for frame in container.decode(stream)])
        assert len(set(steps)) == 1
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # faststart
    assert b"nclx" in data


def test_the_colours_are_converted_by_bt709_in_limited_range(tmp_path):
    """The decoder's own planes hold the code values that BT.709 gives by hand."""
    codes = {(1, 0, 0): (63, 102, 240), (0, 1, 0): (173, 42, 26), (0, 0, 1): (32, 240, 118), (1, 1, 1): (235, 128, 128)}
    for rgb, expected in codes.items():
        write_video(tmp_path / "a.mp4", torch.tensor(rgb).float().expand(1, 32, 32, 3), 8, crf=1)
        with av.open(str(tmp_path / "a.mp4")) as container:
            planes = next(container.decode(video=0)).planes
            found = [np.frombuffer(plane, np.uint8)[plane.line_size * 8 + 8] for plane in planes]
        assert np.abs(np.array(found, int) - expected).max() <= 1
        assert (read_video(tmp_path / "a.mp4").frames - torch.tensor(rgb)).abs().max() < 0.02


def test_planes_invert_within_rounding_and_chroma_stays_in_place():
    """Slow colour survives RGB -> 4:2:0 -> RGB but for rounding: 0.5 / 219 + 1.86 * 0.5 / 224 = 0.0064 in blue."""
    clip = smooth_clip(1, 64, 96)[0]
    frame = av.VideoFrame.from_ndarray(color.rgb_to_yuv420(clip), "yuv420p")
    frame.colorspace, frame.color_range = 1, 1
    assert (color.frame_to_rgb(frame) - clip)[2:-2, 2:-2].abs().max() < 0.0070
    ramp = torch.linspace(0, 1, 96)[None, :, None] * torch.tensor([1.0, 0.0, 0.0])
    frame = av.VideoFrame.from_ndarray(color.rgb_to_yuv420(ramp.expand(64, 96, 3)), "yuv420p")
    frame.colorspace, frame.color_range = 1, 1
    drift = (color.frame_to_rgb(frame)[:, 4:-4, 0] - ramp[0, 4:-4, 0]).mean() * 95  # in pixels
    assert drift.abs() < 0.1


def test_reading_agrees_with_swscale_where_swscale_is_told_the_matrix():
    """An independent conversion, for every layout; colour in rows only, so that chroma siting plays no part."""
    grey = ((np.arange(48) * 5) % 200 + 20).astype(np.uint8)
    flat = np.broadcast_to(grey[:, None], (32, 48, 3)).copy()
    flat[16:] = (180, 60, 90)
    for pixels in ("yuv420p", "yuv422p", "yuv444p", "yuvj420p", "nv12", "yuv420p10le", "yuva420p", "gbrp", "uyvy422"):
        for tag, name in ((1, "ITU709"), (5, "ITU601")):
            reach = "JPEG" if pixels == "yuvj420p" else "MPEG"
            frame = av.VideoFrame.from_ndarray(flat, "rgb24").reformat(
                format=pixels, dst_colorspace=name, src_color_range="JPEG", dst_color_range=reach
            )
            if pixels != "gbrp":
                frame.colorspace = tag
            ours = color.frame_to_rgb(frame)[[4, 24]]
            assert (ours - torch.from_numpy(flat[[4, 24]] / 255.0)).abs().max() < 0.02, (pixels, name)


def test_untagged_matrix_goes_by_height():
    for height, weights in ((64, color.BT601), (720, color.BT709)):
        frame = av.VideoFrame(64, height, "yuv444p")
        for plane, level in zip(frame.planes, (81, 90, 240), strict=True):
            plane.update(bytes([level]) * plane.buffer_size)
        red = (81 - 16) / 219 + (2 - 2 * weights[0]) * (240 - 128) / 224
        assert color.frame_to_rgb(frame)[0, 0, 0].item() == pytest.approx(min(1, red), abs=1e-5)
        blue = (81 - 16) / 219 + (2 - 2 * weights[1]) * (90 - 128) / 224
        assert color.frame_to_rgb(frame)[0, 0, 2].item() == pytest.approx(max(0, blue), abs=1e-5)


def test_metadata_survives(tmp_path):
    said = {
        "prompt": "a red circle, ümläut \U0001f3a5",
        "settings": '{"seed": 1, "text": "a;b=c\\n# \\"q\\""}',
        "long": "x" * 70000,
    }
    write_video(tmp_path / "a.mp4", smooth_clip(2), 8, metadata=said)
    assert said.items() <= read_video(tmp_path / "a.mp4").metadata.items()


def test_crf_trades_size_for_quality(tmp_path):
    clip = (smooth_clip(9) + 0.05 * torch.randn(9, 64, 96, 3, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    sizes, qualities = [], []
    for crf in (10, 17, 35):
        write_video(tmp_path / "a.mp4", clip, 8, crf=crf)
        sizes.append((tmp_path / "a.mp4").stat().st_size)
        qualities.append(psnr(read_video(tmp_path / "a.mp4").frames, clip))
    assert sizes[0] > sizes[1] > 2 * sizes[2] and qualities[0] > qualities[1] > qualities[2]


def test_same_input_same_bytes(tmp_path):
    """Also at a draft's size, where x264 with its default settings does not repeat itself."""
    clip, noise, seen = smooth_clip(17), np.random.default_rng(0), set()
    for _ in range(6):
        churn = [noise.bytes(int(n)) for n in noise.integers(1000, 300000, 40)]
        del churn[::2]
        write_video(tmp_path / "a.mp4", clip, 8, metadata={"seed": "1"})
        seen.add((tmp_path / "a.mp4").read_bytes())
    assert len(seen) == 1


def test_chunks_equal_the_whole(tmp_path):
    clip = smooth_clip(9)
    write_video(tmp_path / "whole.mp4", clip, 8)
    assert write_video(tmp_path / "chunks.mp4", (part for part in clip.split(4)), 8) == 9
    assert (tmp_path / "whole.mp4").read_bytes() == (tmp_path / "chunks.mp4").read_bytes()


@pytest.mark.parametrize("raised", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_write_leaves_nothing_and_keeps_what_was_there(tmp_path, raised):
    clip = smooth_clip(12)

    def stop_midway():
        yield clip
        assert any(tmp_path.iterdir())  # so there was something to clean up
        raise raised

    with pytest.raises(raised):
        write_video(tmp_path / "a.mp4", stop_midway(), 8)
    assert not list(tmp_path.iterdir())
    write_video(tmp_path / "a.mp4", clip[:3], 8)
    before = (tmp_path / "a.mp4").read_bytes()
    with pytest.raises(raised):
        write_video(tmp_path / "a.mp4", stop_midway(), 8)
    assert os.listdir(tmp_path) == ["a.mp4"] and (tmp_path / "a.mp4").read_bytes() == before


@pytest.mark.parametrize(
    "frames, options, rule",
    [
        (torch.zeros(1, 33, 48, 3), {}, "even height and width, got 33x48"),
        (torch.zeros(1, 32, 47, 3), {}, "even height and width, got 32x47"),
        (torch.zeros(0, 32, 32, 3), {}, "at least one frame"),
        (torch.zeros(1, 3, 32, 32), {}, r"\[F, H, W, 3\]"),
        ([torch.zeros(1, 32, 32, 3), torch.zeros(1, 32, 34, 3)], {}, "of one size"),
        (torch.zeros(1, 32, 32, 3), {"fps": 0}, "fps must be over 0"),
        (torch.zeros(1, 32, 32, 3), {"fps": float("nan")}, "fps must be over 0"),
        (torch.zeros(1, 32, 32, 3), {"crf": 52}, "crf must be in 0..51, got 52"),
        (torch.zeros(1, 32, 32, 3), {"audio": Audio(torch.zeros(6, 100), 48000)}, "1 or 2 channels"),
    ],
)
def test_bad_frames_are_refused_and_leave_nothing(tmp_path, frames, options, rule):
    with pytest.raises(ValueError, match=rule):
        write_video(tmp_path / "a.mp4", frames, **{"fps": 8, **options})
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    check_writable(tmp_path / "new" / "deeper")
    assert not list((tmp_path / "new" / "deeper").iterdir())
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ValueError, match=f"cannot write into the folder {folder}") as caught:
            check_writable(folder)
        assert caught.value.__suppress_context__ and "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="cannot write into the folder"):
        write_video(tmp_path / "file" / "a.mp4", smooth_clip(1), 8)


def tone(seconds, rate, channels=2):
    """Silence for half a second, then a tone: a wrong alignment shows."""
    t = torch.arange(round(seconds * rate)) / rate
    return Audio((0.5 * torch.sin(2 * math.pi * 440 * t) * (t >= 0.5)).repeat(channels, 1), rate)


@pytest.mark.parametrize("rate, channels", [(48000, 2), (22050, 1), (44056, 1)])
def test_audio_is_kept_in_time_and_cut_to_the_clip(tmp_path, rate, channels):
    write_video(tmp_path / "a.mp4", smooth_clip(9), 8, audio=tone(3, rate, channels))
    video = read_video(tmp_path / "a.mp4")
    sound = video.audio
    assert sound.samples.shape == (channels, round(9 / 8 * sound.rate)) and probe_video(tmp_path / "a.mp4").has_audio
    onset = (sound.samples[0].abs() > 0.1).nonzero()[0].item() / sound.rate
    assert onset == pytest.approx(0.5, abs=0.005)
    write_video(tmp_path / "b.mp4", video.frames, video.fps, audio=sound)  # through two generations
    again = read_video(tmp_path / "b.mp4").audio
    loud = slice(round(0.6 * sound.rate), round(1.1 * sound.rate))
    assert (again.samples - sound.samples)[:, loud].abs().max() < 0.05
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert container.duration / av.time_base == pytest.approx(9 / 8, abs=0.03)


def test_audio_of_a_part_starts_with_its_first_frame(tmp_path):
    write_video(tmp_path / "a.mp4", smooth_clip(17), 8, audio=tone(3, 48000))
    part = read_video(tmp_path / "a.mp4", start=2, max_frames=8)
    assert part.audio.samples.shape == (2, 48000)
    assert (part.audio.samples[0].abs() > 0.1).nonzero()[0].item() / 48000 == pytest.approx(0.25, abs=0.005)


def test_start_and_max_frames_take_that_part(tmp_path):
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
    encode(tmp_path / "a.mkv", clip, pts=pts, max_b_frames=0)
    video = read_video(tmp_path / "a.mkv")
    assert len(video.notes) == 1 and "variable frame rate" in video.notes[0] and "4.444 fps" in video.notes[0]
    assert video.fps == Fraction(40, 9) and len(video.frames) == 9
    shown = [min(range(9), key=lambda i: abs(pts[i] - k * 225)) for k in range(9)]
    assert psnr(video.frames, clip[shown]) > 35 > psnr(video.frames, clip)


@pytest.mark.parametrize("fps", [Fraction(24000, 1001), Fraction(30), Fraction(60)])
def test_times_rounded_to_milliseconds_are_not_variable(tmp_path, fps):
    encode(tmp_path / "a.mkv", smooth_clip(30, 32, 32), rate=fps, pts=[round(1000 * i / fps) for i in range(30)])
    video = read_video(tmp_path / "a.mkv")
    assert video.notes == () and video.fps == fps and len(video.frames) == 30


@pytest.mark.parametrize("size", [(33, 47), (33, 48), (32, 47)])
def test_odd_sizes_are_read(tmp_path, size):
    clip = (
        smooth_clip(5, *size).mean(-1, keepdim=True).expand(-1, -1, -1, 3)
    )  # grey: what swscale makes of colour varies
    encode(tmp_path / "a.mkv", clip, codec="ffv1", pixels="yuv420p")
    frames = read_video(tmp_path / "a.mkv").frames
    assert frames.shape == clip.shape and psnr(frames, clip) > 45


def test_chroma_is_sited_left_also_at_odd_sizes():
    """Cr that rises by 2 from sample to sample rises by 1 from column to column, and the first ones coincide."""
    frame = av.VideoFrame(47, 33, "yuv420p")
    frame.colorspace = 1
    for plane, row in zip(frame.planes, (np.full(47, 126), np.full(24, 128), 110 + 2 * np.arange(24)), strict=True):
        rows = np.zeros((plane.height, plane.line_size), np.uint8)
        rows[:, : len(row)] = row
        plane.update(rows.tobytes())
    rgb = color.frame_to_rgb(frame)
    red = (126 - 16) / 219 + (2 - 2 * 0.2126) * (110 + torch.arange(47.0) - 128) / 224
    assert rgb.shape == (33, 47, 3) and (rgb[..., 0] - red).abs().max() < 1e-5


def test_one_frame_and_a_picture_are_one_frame(tmp_path):
    clip = smooth_clip(1)
    encode(tmp_path / "a.mkv", clip)
    encode(tmp_path / "a.png", clip, codec="png", pixels="rgb24")
    video, picture = read_video(tmp_path / "a.mkv"), read_video(tmp_path / "a.png")
    assert video.frames.shape == picture.frames.shape == (1, 64, 96, 3) and video.fps == 8 and picture.fps > 0
    assert psnr(video.frames, clip) > 35 and (picture.frames - clip).abs().max() < 0.003
    info = probe_video(tmp_path / "a.png")
    assert (info.height, info.width, info.frames, info.has_audio) == (64, 96, 1, False)


def test_alpha_is_ignored_and_said(tmp_path):
    clip = smooth_clip(3)
    encode(tmp_path / "a.mov", torch.cat([clip, torch.full((3, 64, 96, 1), 0.4)], -1), codec="png", pixels="rgba")
    video = read_video(tmp_path / "a.mov")
    assert video.notes == ("alpha ignored",) and (video.frames - clip).abs().max() < 0.003
    encode(tmp_path / "b.mkv", clip, codec="ffv1", pixels="yuva420p")
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
    assert video.notes == ("10 bits a colour, read without loss and written as 8",)
    expected = torch.from_numpy((codes - 64.0) / 876)[:, None]
    assert (video.frames[0] - expected).abs().max() < 1e-5


def test_deep_grey_is_read_and_said(tmp_path):
    clip = smooth_clip(2).mean(-1, keepdim=True).expand(-1, -1, -1, 3)
    encode(tmp_path / "a.mkv", clip, codec="ffv1", pixels="gray10le")
    video = read_video(tmp_path / "a.mkv")
    assert "10 bits" in video.notes[0] and (video.frames - clip).abs().max() < 0.01


@pytest.mark.skipif(
    not hasattr(av.video.stream.VideoStream, "set_display_rotation"), reason="this PyAV writes no rotation"
)
@pytest.mark.parametrize("degrees, turns", [(90, 1), (180, 2), (-90, 3)])
def test_rotation_is_applied_and_said(tmp_path, degrees, turns):
    clip = smooth_clip(3)
    encode(tmp_path / "a.mp4", clip, rotation=degrees)
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


def test_sound_alone_is_not_a_video(tmp_path):
    with av.open(str(tmp_path / "a.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(ValueError, match=r"a\.wav: has no video in it"):
        read_video(tmp_path / "a.wav")


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


def test_side_by_side_puts_the_upscaled_left_beside_the_right():
    left, right = smooth_clip(3, 16, 24), smooth_clip(3, 64, 96)
    both = put_side_by_side(left, right)
    assert both.shape == (3, 64, 192, 3) and torch.equal(both[:, :, 96:], right)
    assert psnr(both[:, :, :96], right) > 30
    nearest = put_side_by_side(left, right, "nearest")
    assert torch.equal(nearest[:, ::4, :96:4], left)
    with pytest.raises(ValueError, match="as many frames left as right, got 2 and 3"):
        put_side_by_side(left[:2], right)
