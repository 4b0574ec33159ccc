"""Frames to file: every frame at its time, whole files or none, the same bytes for the same frames."""

import os
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from support.video_files import psnr, smooth_clip

from flashvideo_core.media.audio import Audio
from flashvideo_core.media.video_reader import probe_video, read_video
from flashvideo_core.media.video_writer import check_fps, put_side_by_side, write_video
from flashvideo_core.weights.atomic import check_writable


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


def test_rates_are_kept_exact_and_checked_before_the_work(tmp_path):
    assert check_fps(8) == 8 and check_fps(24000 / 1001) == Fraction(24000, 1001) and check_fps(1000) == 1000
    for fps in (Fraction(19001, 317), Fraction(1, 3600)):
        assert check_fps(fps) == fps
        write_video(tmp_path / "a.mp4", smooth_clip(3, 32, 32), fps)
        assert read_video(tmp_path / "a.mp4").fps == fps
    assert check_fps(1 / 3600) == Fraction(1, 3600) and check_fps(Fraction(2**40 + 1, 2**37)) == 8
    for fps in (0, -8, 1000.5, 15000, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"fps must be over 0 and at most 1000, got {fps}"):
            check_fps(fps)


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
        (torch.zeros(1, 32, 32, 3), {"crf": 52}, "crf is 52; it must be 0 .the best. to 51 for h264"),
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


def test_side_by_side_puts_the_upscaled_left_beside_the_right():
    left, right = smooth_clip(3, 16, 24), smooth_clip(3, 64, 96)
    both = put_side_by_side(left, right)
    assert both.shape == (3, 64, 192, 3) and torch.equal(both[:, :, 96:], right)
    assert psnr(both[:, :, :96], right) > 30
    nearest = put_side_by_side(left, right, "nearest")
    assert torch.equal(nearest[:, ::4, :96:4], left)
    with pytest.raises(ValueError, match="as many frames left as right, got 2 and 3"):
        put_side_by_side(left[:2], right)
