"""A VIDEO as frames to refine: those that ComfyUI itself takes from it, of a file, in memory, trimmed or of images."""

import io
import tempfile
from fractions import Fraction
from pathlib import Path
from unittest import mock

import folder_paths
import torch
from comfy_api.latest import InputImpl, Types

from .setting import pack

FRAMES, RATE = 24, 12


def write_film(folder):
    """Each frame has a brightness of its own; half a second of sound begins with its second half."""
    media, audio = pack("flashvideo_core.media.video_writer"), pack("flashvideo_core.media.audio")
    frames = torch.linspace(0.1, 0.9, FRAMES)[:, None, None, None].expand(-1, 32, 48, 3)
    time = torch.arange(2 * 44100) / 44100
    tone = torch.where(time >= 1, 0.3 * torch.sin(2764 * time), 0.0)
    media.write_video(Path(folder) / "film.mp4", frames, RATE, audio=audio.Audio(tone[None], 44100))
    return Path(folder) / "film.mp4"


def open_video(video):
    clip = pack("nodes.bridge.video_source").open_video(video)
    frames = pack("flashvideo_core.vae_passes").read_ranges(clip.frames, [(0, len(clip.frames))])
    return clip, next(iter(frames))


def check_frames_are_those_of_comfyui():
    with tempfile.TemporaryDirectory() as folder:
        path = write_film(folder)
        for window in ({}, {"start_time": 0.5, "duration": 1.0}, {"start_time": 1.5}, {"start_time": -0.5}):
            video = InputImpl.VideoFromFile(str(path), **window)
            wanted, (clip, frames) = video.get_components(), open_video(video)
            assert (clip.size, clip.fps, len(frames)) == ((32, 48), RATE, len(wanted.images)), window
            assert (frames - wanted.images).abs().max() < 0.02, window  # of 0.035 from frame to frame
            onset = int((clip.audio.samples.abs() > 0.1).any(0).nonzero()[0]) / 44100
            start = video.get_active_trim_window()[0]
            assert abs(onset - max(0, 1 - start)) < 0.01, (window, onset)


def check_a_video_in_memory_is_that_of_its_file():
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(folder_paths, "temp_directory", folder):
        path = write_film(folder)
        of_file, frames = open_video(InputImpl.VideoFromFile(str(path)))
        of_bytes, others = open_video(InputImpl.VideoFromFile(io.BytesIO(path.read_bytes())))
        assert of_file.content == of_bytes.content and torch.equal(frames, others)


def check_a_video_of_images_has_their_rate_and_sound():
    images = torch.rand(6, 32, 48, 4, generator=torch.Generator().manual_seed(1))
    waveform = torch.rand(1, 6, 100, generator=torch.Generator().manual_seed(2))
    components = Types.VideoComponents(
        images=images, audio={"waveform": waveform, "sample_rate": 44100}, frame_rate=Fraction(24000, 1001)
    )
    clip, frames = open_video(InputImpl.VideoFromComponents(components))
    assert torch.equal(frames, images[..., :3]) and clip.fps == Fraction(24000, 1001)
    assert torch.equal(clip.audio.samples, waveform[0].mean(0, keepdim=True)) and clip.audio.rate == 44100
    components.audio = None
    assert open_video(InputImpl.VideoFromComponents(components))[0].content != clip.content
