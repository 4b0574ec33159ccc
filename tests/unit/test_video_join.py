"""Videos end to end: the packets of their parts, at the times that one encoding would have given them."""

from fractions import Fraction

import av
import pytest
import torch
from support.video_files import smooth_clip

from flashvideo_core.media.audio import Audio
from flashvideo_core.media.clock import make_clock
from flashvideo_core.media.video_join import join_videos
from flashvideo_core.media.video_reader import probe_video, read_video
from flashvideo_core.media.video_writer import write_video


def list_packets(path):
    with av.open(str(path)) as container:
        return [
            (packet.stream_index, packet.pts, packet.dts, packet.duration, bytes(packet))
            for packet in container.demux()
            if packet.size
        ]


@pytest.mark.parametrize("rate", [Fraction(8), Fraction(24000, 1001)])
def test_one_part_has_the_packets_of_a_video_that_is_written_at_once(tmp_path, rate):
    clip, audio = smooth_clip(9, 32, 48), Audio(torch.rand(2, 20000) * 0.1, 48000)
    whole, part, joined = (tmp_path / name for name in ("whole.mp4", "part.mp4", "joined.mp4"))
    write_video(whole, clip, rate, metadata={"flashvideo": "{}"}, audio=audio)
    write_video(part, clip, rate)
    assert join_videos(joined, [part], make_clock(rate), metadata={"flashvideo": "{}"}, audio=audio) == 9
    assert list_packets(joined) == list_packets(whole)
    assert read_video(joined).metadata == read_video(whole).metadata


def test_parts_follow_each_other_without_a_gap(tmp_path):
    clip, parts = smooth_clip(30, 32, 48), []
    for i, frames in enumerate(clip.split([13, 16, 1])):
        parts.append(tmp_path / f"{i}.mp4")
        write_video(parts[-1], frames, 24)
    assert join_videos(tmp_path / "joined.mp4", parts, make_clock(Fraction(24))) == 30
    video, info = read_video(tmp_path / "joined.mp4"), probe_video(tmp_path / "joined.mp4")
    assert video.notes == () and video.fps == info.fps == 24 and info.frames == 30
    assert torch.equal(video.frames, torch.cat([read_video(part).frames for part in parts]))
    assert torch.diff(torch.tensor(info.times)).sub(1 / 24).abs().max() < 1e-6
    keyframes = [i for i, packet in enumerate(list_packets(tmp_path / "joined.mp4")) if packet[4][4] & 31 in (5, 6, 7)]
    assert len(keyframes) >= 3
