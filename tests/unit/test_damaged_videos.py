"""Files with something wrong in them: what can be decoded is kept, at its time, and what cannot is counted."""

import struct
from fractions import Fraction
from types import SimpleNamespace

import av
import pytest
import torch
from support.video_files import encode_clip, psnr, smooth_clip

from flashvideo_core.errors import InputError
from flashvideo_core.media.demux import is_shown
from flashvideo_core.media.video_reader import probe_video, read_frames, read_video

STAND_IN = "the nearest frames in time stand in for"
FILES = {  # name -> how it is encoded
    "h264.mp4": {"codec": "libx264", "gop_size": 8},
    "mpeg4.avi": {"codec": "mpeg4", "gop_size": 8},
    "mjpeg.mov": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "png.mov": {"codec": "png", "pixels": "rgb24"},
    "vp9.webm": {"codec": "libvpx-vp9", "gop_size": 8},
}


def packets_of(path):
    with av.open(str(path)) as container:
        return [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]


def damage(path, number):
    """Overwrites a packet's first bytes, and the rest of it with zeros."""
    position, size = packets_of(path)[number]
    data = bytearray(path.read_bytes())
    start = data.find(data[position : position + 8], position) + (12 if path.suffix == ".webm" else 0)
    data[start : start + size - 12] = b"\xff" * 6 + bytes(size - 18)
    path.write_bytes(data)


@pytest.mark.parametrize("name", FILES)
def test_one_bad_packet_costs_its_own_frame(tmp_path, name):
    clip, path = smooth_clip(24), tmp_path / name
    encode_clip(path, clip, **FILES[name])
    whole = read_video(path)
    assert whole.fps == 8 and len(whole.frames) == 24 and whole.notes == ()
    damage(path, 12)
    video, info = read_video(path), probe_video(path)
    assert video.fps == info.fps == 8 and len(video.frames) == info.frames == 24
    assert video.notes == (f"incomplete: 23 of 24 frames could be decoded; {STAND_IN} 1 missing at its 8 fps",)
    intact = [*range(8), *range(16, 24)]  # what hangs on the lost frame may look damaged
    assert torch.equal(video.frames[intact], whole.frames[intact])


def test_frames_by_number_are_those_at_their_times_past_a_lost_one(tmp_path):
    path = tmp_path / "a.mov"
    encode_clip(path, smooth_clip(24), codec="png", pixels="rgb24")
    whole = read_video(path).frames
    damage(path, 12)
    assert torch.equal(read_frames(path, (3, 11, 13, 23)), whole[[3, 11, 13, 23]])
    with pytest.raises(InputError, match="frame 12 could not be decoded"):
        read_frames(path, (3, 12))


def cut_by_edit_list(path, begin, length):
    """Sets the edit list of an mp4 with one track: `length` from `begin` on, in ticks of the film and of the track."""
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 4
    assert struct.unpack(">II", data[at : at + 8]) == (0, 1)
    data[at + 8 : at + 16] = struct.pack(">Ii", length, begin)
    path.write_bytes(data)


def test_frames_that_an_edit_list_cuts_off_are_neither_counted_nor_missed(tmp_path):
    path = tmp_path / "a.mp4"
    encode_clip(path, smooth_clip(24), gop_size=24, max_b_frames=0)
    whole = read_video(path).frames
    with av.open(str(path)) as container:
        ticks = int(1 / (8 * container.streams.video[0].time_base))
    cut_by_edit_list(path, begin=6 * ticks, length=1000)  # frames 6 to 13; the film's own ticks are ms
    video, info = read_video(path), probe_video(path)
    assert video.notes == () and video.fps == info.fps == 8
    assert len(video.frames) == info.frames == len(info.times) == 8
    assert torch.equal(video.frames, whole[6:14]) and torch.equal(read_frames(path, (0, 7)), whole[[6, 13]])


def test_a_hidden_frame_of_vp8_is_not_counted():
    class Packet(bytes):
        size, is_discard, stream = 3, False, SimpleNamespace(codec_context=SimpleNamespace(name="vp8"))

    assert [is_shown(Packet([tag, 0, 0])) for tag in (0x10, 0x11, 0x00, 0x01)] == [True, True, False, False]


def test_files_joined_end_to_end_keep_all_frames(tmp_path):
    clip = smooth_clip(9)
    encode_clip(tmp_path / "a.ts", clip, max_b_frames=0)
    (tmp_path / "joined.ts").write_bytes(2 * (tmp_path / "a.ts").read_bytes())
    video, info = read_video(tmp_path / "joined.ts"), probe_video(tmp_path / "joined.ts")
    assert len(video.frames) == info.frames == 18 and video.fps == info.fps == 8 and info.times[-1] == 17 / 8
    assert psnr(video.frames, torch.cat([clip, clip])) > 35
    assert torch.equal(read_frames(tmp_path / "joined.ts", (4, 13)), video.frames[[4, 13]])


def test_a_cover_picture_is_no_film(tmp_path):
    """A single picture before the film, not even tagged as a cover."""
    cover, clip = smooth_clip(1, 32, 32), smooth_clip(9)
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        streams = [container.add_stream("mjpeg", rate=8), container.add_stream("libx264", rate=8)]
        for stream, frames, pixels in zip(streams, (cover, clip), ("yuvj420p", "yuv420p"), strict=True):
            stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pixels
        for stream, frames in zip(streams, (cover, clip), strict=True):
            for i, picture in enumerate((frames * 255).byte().numpy()):
                frame = av.VideoFrame.from_ndarray(picture, "rgb24")
                frame.pts, frame.time_base = i, Fraction(1, 8)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    video, info = read_video(tmp_path / "a.mkv"), probe_video(tmp_path / "a.mkv")
    assert video.frames.shape == clip.shape and (info.frames, info.height, info.width) == (9, 64, 96)
    assert read_frames(tmp_path / "a.mkv", (8,)).shape == (1, 64, 96, 3)


@pytest.mark.parametrize("reader", [read_video, probe_video])
def test_a_file_that_cannot_be_read_says_why(reader):
    """The memory of this process is a file that gives an input/output error at its start."""
    with pytest.raises(InputError, match=r"^/proc/self/mem: cannot be read \(Input/output error\)$"):
        reader("/proc/self/mem")
