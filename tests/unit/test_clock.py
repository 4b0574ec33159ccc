"""Frames at times of their own: every codec keeps each of them, the last one's length, and the sound beside them."""

from fractions import Fraction

import av
import pytest
import torch
from support.video_files import encode_clip, smooth_clip

from flashvideo_core.errors import InputError
from flashvideo_core.media.audio import Audio
from flashvideo_core.media.clock import make_clock
from flashvideo_core.media.codecs import CODECS, VideoFormat, choose_format, has_encoder
from flashvideo_core.media.picture_writer import join_pictures, open_picture_writer, write_pictures
from flashvideo_core.media.video_join import join_videos
from flashvideo_core.media.video_reader import read_video, survey_video
from flashvideo_core.media.video_writer import open_video_writer, write_video

MILLISECONDS = [0, 40, 80, 200, 210, 300, 333, 1000, 1500, 1700]  # nine frames, and the end of the last
TIMES = tuple(Fraction(time, 1000) for time in MILLISECONDS)
CLIP = smooth_clip(9)
FORMATS = [VideoFormat(codec, codec.bit_depths[-1]) for codec in CODECS.values() if codec.container != "png"]
VIDEOS = [video for video in FORMATS if has_encoder(video)]


def name(video):
    return video.codec.name


def read_times(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [(frame.pts * stream.time_base, frame) for frame in container.decode(stream)]
        return [time for time, _ in frames], stream.duration * stream.time_base


@pytest.mark.parametrize("video", VIDEOS, ids=name)
def test_every_frame_has_its_time_and_the_last_its_length(video, tmp_path):
    path, tone = tmp_path / f"a{video.suffix}", torch.sin(torch.arange(2 * 48000) / 20)[None] / 3
    assert write_video(path, CLIP, Fraction(80, 17), video=video, times=TIMES, audio=Audio(tone, 48000)) == 9
    times, duration = read_times(path)
    assert times == list(TIMES[:9]) and duration == TIMES[9]
    source = survey_video(path, keep_times=True)
    assert source.times == TIMES and source.audio.samples.shape[1] == round(Fraction(17, 10) * 48000)
    shown = torch.cat(list(source.frames.read([(0, 9)])))
    assert (shown.mean((1, 2, 3)) - CLIP.mean((1, 2, 3))).abs().max() < 0.004  # each in its place


@pytest.mark.parametrize("times", [None, TIMES], ids=["constant", "own"])
@pytest.mark.parametrize("video", VIDEOS, ids=name)
def test_parts_are_joined_to_the_same_frames_at_the_same_times(video, times, tmp_path):
    clock, parts = make_clock(Fraction(8), times), []
    for number, (start, stop) in enumerate([(0, 4), (4, 9)]):
        parts.append(tmp_path / f"{number}{video.suffix}")
        with open_video_writer(parts[-1], clock.part(start), video=video) as writer:
            writer.write(CLIP[start:stop])
    joined = tmp_path / f"joined{video.suffix}"
    assert join_videos(joined, parts, clock, video=video, metadata={"flashvideo": "{}"}) == 9
    assert (video.codec.name == "h265") == (b"hvc1" in joined.read_bytes())
    assert read_times(joined)[0] == [clock.seconds(i) for i in range(9)]
    sources = [survey_video(part, keep_times=True).frames for part in parts]
    expected = torch.cat([next(source.read([(0, len(source))])) for source in sources])
    found = torch.cat(list(survey_video(joined, keep_times=True).frames.read([(0, 9)])))
    assert torch.equal(found, expected) and read_video(joined).metadata["flashvideo"] == "{}"


def test_pictures_have_their_times_and_sound_beside_them(tmp_path):
    png, tone = choose_format("png", 8), Audio(torch.sin(torch.arange(96000) / 20)[None] / 3, 48000)
    write_pictures(tmp_path / "whole", CLIP, 8, png, audio=tone, times=TIMES)
    lines = (tmp_path / "whole" / "timestamps.txt").read_text().splitlines()
    assert lines[0] == "# timestamp format v2" and [float(line) for line in lines[1:]] == MILLISECONDS[:9]
    with av.open(str(tmp_path / "whole" / "sound.wav")) as container:
        sound = container.streams.audio[0]
        assert sound.codec_context.name == "pcm_s16le" and sound.duration * sound.time_base == TIMES[9]
    clock, parts = make_clock(Fraction(8), TIMES), []
    for number, (start, stop) in enumerate([(0, 4), (4, 9)]):
        parts.append(tmp_path / f"part{number}")
        with open_picture_writer(parts[-1], clock.part(start), png) as writer:
            writer.write(CLIP[start:stop])
    assert join_pictures(tmp_path / "joined", parts, clock, png, audio=tone) == 9
    whole, joined = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("whole", "joined")
    )
    assert whole == joined and len(whole) == 11


def test_a_constant_rate_is_the_same_whether_times_are_kept_or_not(tmp_path):
    write_video(tmp_path / "a.mp4", CLIP, Fraction(24000, 1001))
    kept, resampled = survey_video(tmp_path / "a.mp4", keep_times=True), survey_video(tmp_path / "a.mp4")
    assert kept == resampled and kept.times is None


def test_frames_that_were_not_stored_are_not_made_up(tmp_path):
    """8 fps of which three instants have no frame: resampled, the nearest stand in; kept, those that are there last."""
    encode_clip(tmp_path / "a.mkv", smooth_clip(7), pts=[0, 125, 250, 375, 500, 1000, 1125], max_b_frames=0)
    source = survey_video(tmp_path / "a.mkv", keep_times=True)
    assert len(source.frames) == 7 and [float(time) for time in source.times[4:7]] == [0.5, 1.0, 1.125]
    assert "every frame keeps its time" in source.notes[-1]
    assert len(survey_video(tmp_path / "a.mkv").frames) == 10


def test_times_that_are_none():
    for times in ((0, 1, 1), (1, 2), (0,), (0, 2, 1)):
        with pytest.raises(InputError, match="must ascend from 0"):
            make_clock(Fraction(8), tuple(map(Fraction, times)))
    odd = (Fraction(0), Fraction(1, 7), Fraction(1, 3) + Fraction(1, 1_000_003))  # finer than an mp4 can count
    assert make_clock(Fraction(8), odd).time_base == Fraction(1, 90_000)
