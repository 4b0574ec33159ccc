"""Animated WebP, which ComfyUI writes and FFmpeg does not read."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image
from support.video_files import smooth_clip

from flashvideo_core.errors import InputError
from flashvideo_core.media.video_reader import probe_video, read_frames, read_video


def test_an_animated_webp_is_a_film_with_its_times(tmp_path):
    pictures = [Image.fromarray(p) for p in (smooth_clip(6) * 255).byte().numpy()]
    delays = [100, 100, 300, 0, 100, 100]  # none: as browsers show it, 100 ms
    pictures[0].save(tmp_path / "a.webp", save_all=True, append_images=pictures[1:], duration=delays, lossless=True)
    video, info = read_video(tmp_path / "a.webp"), probe_video(tmp_path / "a.webp")
    assert video.fps == info.fps == 10 and info.frames == 6 and info.times == (0.0, 0.1, 0.2, 0.5, 0.6, 0.7)
    assert [np.array(pictures[i]).tolist() for i in (0, 1, 2, 2, 3, 3, 4, 5)] == (video.frames * 255).round().tolist()
    assert video.notes == (
        "alpha ignored",
        "the nearest frames in time stand in for 2 missing at its 10 fps",
    )
    assert torch.equal(read_frames(tmp_path / "a.webp", (3, 5)), video.frames[[5, 7]])
    (tmp_path / "cut.webp").write_bytes((tmp_path / "a.webp").read_bytes()[:3000])
    with pytest.raises(InputError, match=r"cut\.webp: no frame could be decoded"):
        read_video(tmp_path / "cut.webp")


def test_an_animated_webp_without_pillow_says_what_to_install(tmp_path, monkeypatch):
    pictures = [Image.new("RGB", (16, 16), (i, 0, 0)) for i in (0, 255)]
    pictures[0].save(tmp_path / "a.webp", save_all=True, append_images=pictures[1:], duration=100)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(InputError, match=r"a\.webp: an animated WebP is read with pillow, which is not .*\[webp\]"):
        read_video(tmp_path / "a.webp")
