"""Running the command line inside the test process, on the golden checkpoints at the smallest sizes."""

import json
from pathlib import Path

import torch
from golden import CHECKPOINTS, recorded
from safetensors.torch import save_file

from flashvideo_core.cli import main
from flashvideo_core.video import read_video

STAGE1, STAGE2, VAE = (str(CHECKPOINTS / name) for name in ("stage1.pt", "stage2.pt", "3d-vae.pt"))
SMALL = ["--frames", "5", "--height", "32", "--width", "48", "--size", "64x96", "--steps", "3", "--refine-steps", "2"]


def weights(folder: Path) -> list[str]:
    """The options that name the golden checkpoints and their recorded text embeddings."""
    path = folder / "embeddings.safetensors"
    if not path.exists():
        save_file({f"stage{i}": recorded(f"stage{i}_sampler")["context_cond"] for i in (1, 2)}, path)
    return ["--stage1", STAGE1, "--stage2", STAGE2, "--vae", VAE, "--embeddings", str(path)]


def run(capsys, *argv: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    capsys.readouterr()
    code = main([str(word) for word in argv])
    said = capsys.readouterr()
    return code, said.out, said.err


def events(out: str) -> list[dict]:
    return [json.loads(line) for line in out.splitlines()]


def same_frames(one: Path, other: Path) -> bool:
    """Whether two videos decode to the same pixels."""
    return torch.equal(read_video(one).frames, read_video(other).frames)


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
