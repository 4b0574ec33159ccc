"""Colour: true BT.709 out, whatever a file is tagged with in, and chroma where H.264 has it."""

import av
import numpy as np
import pytest
import torch
from support.video_files import smooth_clip

from flashvideo_core.media import color
from flashvideo_core.media.video_reader import read_video
from flashvideo_core.media.video_writer import write_video


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
    frame = color.rgb_to_frame(clip, "yuv420p")
    assert (color.frame_to_rgb(frame) - clip)[2:-2, 2:-2].abs().max() < 0.0070
    ramp = torch.linspace(0, 1, 96)[None, :, None] * torch.tensor([1.0, 0.0, 0.0])
    frame = color.rgb_to_frame(ramp.expand(64, 96, 3), "yuv420p")
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
