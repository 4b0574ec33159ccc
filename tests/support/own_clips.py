"""A small data set of one's own and the smallest weights, for the tests of training on it."""

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from support.cli_run import STAGE1, STAGE2, VAE

from flashvideo_core.checkpoint import make_metadata
from flashvideo_core.config import TextConfig
from flashvideo_core.media.video_writer import write_video
from flashvideo_core.text import WordEncoder
from flashvideo_core.training.data import Source

WORDS = ("blue", "circle", "down", "left", "moves", "red", "square", "the")
SIZE = (64, 96)


def make_clip(frames: int = 17, size: tuple[int, int] = SIZE, shift: float = 0.0) -> torch.Tensor:
    """[F, H, W, 3] in 0..1: a disc that moves to the right over a gradient; shift changes the disc's green."""
    y, x = torch.meshgrid(torch.arange(size[0]).float(), torch.arange(size[1]).float(), indexing="ij")
    out = torch.stack([x / size[1], y / size[0], 0.5 + 0 * x], dim=-1).repeat(frames, 1, 1, 1)
    for f in range(frames):
        disc = (y - size[0] / 2) ** 2 + (x - size[1] / 4 - 2 * f) ** 2 < (size[0] / 4) ** 2
        out[f][disc] = torch.tensor([0.9, 0.2 + shift, 0.1])
    return out


def write_clip(
    path: Path,
    caption: str | None,
    frames: int = 17,
    fps: float = 8,
    size: tuple[int, int] = SIZE,
    shift: float = 0.0,
) -> Source:
    """A video file and, if there is a caption, the text beside it."""
    write_video(path, make_clip(frames, size, shift), fps)
    if caption is not None:
        path.with_suffix(".txt").write_text(caption)
    return Source(path, caption or "")


def write_data_set(folder: Path) -> Path:
    """Two clips of 9 frames at 8 fps, one of them larger, and a picture."""
    folder.mkdir()
    write_clip(folder / "a.mp4", "the red circle moves left", 9)
    write_clip(folder / "b.mp4", "the blue circle\n moves down", 9, size=(96, 128), shift=0.4)
    write_clip(folder / "c.mp4", "the red square", 1)
    return folder


def write_text_encoder(path: Path, width: int = 32) -> Path:
    """A file with an untrained word-level encoder of the golden stages' text width."""
    torch.manual_seed(0)
    config = replace(TextConfig(words=len(WORDS)), width=width, layers=1, slots=4)
    state = {name: value.contiguous() for name, value in WordEncoder(config).state_dict().items()}
    save_file(state, path, metadata={**make_metadata(config), "words": " ".join(WORDS)})
    return path


def weight_options(folder: Path) -> list[str]:
    """The options that name the golden checkpoints and a text encoder of their width."""
    path = folder / "text.safetensors"
    if not path.exists():
        write_text_encoder(path)
    return ["--stage1", STAGE1, "--stage2", STAGE2, "--vae", VAE, "--text", str(path), "--device", "cpu"]
