"""Sound is kept in time with its frames."""

import math
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from support.video_files import smooth_clip

from flashvideo_core.media.audio import Audio
from flashvideo_core.media.video_reader import probe_video, read_video
from flashvideo_core.media.video_writer import write_video


def make_tone(seconds, rate, channels=2):
    """Silence for half a second, then a tone: a wrong alignment shows."""
    t = torch.arange(round(seconds * rate)) / rate
    return Audio((0.5 * torch.sin(2 * math.pi * 440 * t) * (t >= 0.5)).repeat(channels, 1), rate)


@pytest.mark.parametrize("rate, channels", [(48000, 2), (22050, 1), (44056, 1)])
def test_audio_is_kept_in_time_and_cut_to_the_clip(tmp_path, rate, channels):
    write_video(tmp_path / "a.mp4", smooth_clip(9), 8, audio=make_tone(3, rate, channels))
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


def test_audio_of_an_excerpt_starts_with_its_first_frame(tmp_path):
    write_video(tmp_path / "a.mp4", smooth_clip(17), 8, audio=make_tone(3, 48000))
    part = read_video(tmp_path / "a.mp4", start=2, max_frames=8)
    assert part.audio.samples.shape == (2, 48000)
    assert (part.audio.samples[0].abs() > 0.1).nonzero()[0].item() / 48000 == pytest.approx(0.25, abs=0.005)


def test_sound_alone_is_not_a_video(tmp_path):
    with av.open(str(tmp_path / "a.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(ValueError, match=r"a\.wav: has no video in it"):
        read_video(tmp_path / "a.wav")


def write_with_sound(path, blocks, codec="pcm_s16le"):
    """A film of 9 frames at 8 fps with sound in one stream; blocks: (time in s, rate, samples int16 [1, N])."""
    with av.open(str(path), "w") as container:
        film, sound = (
            container.add_stream("libx264", rate=8),
            container.add_stream(codec, rate=blocks[0][1], layout="mono"),
        )
        film.height, film.width, film.pix_fmt = 64, 96, "yuv420p"
        for i, picture in enumerate((smooth_clip(9) * 255).byte().numpy()):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 8)
            container.mux(film.encode(frame))
        container.mux(film.encode(None))
        for time, rate, samples in blocks:
            frame = av.AudioFrame.from_ndarray(samples, "s16", "mono")
            frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), round(time * rate)
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))


def sine(seconds, rate, start=0.0):
    t = start + np.arange(round(seconds * rate)) / rate
    return (16000 * np.sin(2 * np.pi * 440 * t)).astype(np.int16)[None]


def test_times_in_milliseconds_tear_no_gaps(tmp_path):
    """Blocks of 1024 at 44.1 kHz last 23.22 ms; Matroska stores 23."""
    whole = sine(1.2, 44100)
    blocks = [(at / 44100, 44100, whole[:, at : at + 1024].copy()) for at in range(0, whole.shape[1] - 1024, 1024)]
    write_with_sound(tmp_path / "a.mkv", blocks)
    heard = read_video(tmp_path / "a.mkv").audio.samples[0]
    expected = torch.from_numpy(whole[0, : len(heard)] / 32768).float()
    assert (heard - expected).abs().max() < 1e-4


def test_times_that_start_anew_go_on_where_the_sound_ended(tmp_path):
    write_with_sound(tmp_path / "a.ts", [(0, 48000, sine(1.125, 48000))], codec="aac")
    (tmp_path / "joined.ts").write_bytes(2 * (tmp_path / "a.ts").read_bytes())
    video = read_video(tmp_path / "joined.ts")
    heard = video.audio.samples[0].unfold(0, 4800, 4800).abs().amax(-1)
    assert len(video.frames) == 18 and len(heard) == 22 and (heard > 0.3).all()
