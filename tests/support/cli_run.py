"""Running the command line inside the test process, on the golden checkpoints at the smallest sizes."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from support.golden import CHECKPOINTS, load_golden

from flashvideo_core.cli.main import main
from flashvideo_core.media.video_reader import read_video

STAGE1, STAGE2, VAE = (str(CHECKPOINTS / name) for name in ("stage1.pt", "stage2.pt", "3d-vae.pt"))
SMALL = ["--frames", "5", "--height", "32", "--width", "48", "--size", "64x96", "--steps", "3", "--refine-steps", "2"]

ROOT = Path(__file__).parents[2]


def component_options(folder: Path) -> list[str]:
    """The options that name the golden checkpoints and their recorded text embeddings."""
    path = folder / "embeddings.safetensors"
    if not path.exists():
        save_file({f"stage{i}": load_golden(f"stage{i}_sampler")["context_cond"] for i in (1, 2)}, path)
    return ["--stage1", STAGE1, "--stage2", STAGE2, "--vae", VAE, "--embeddings", str(path)]


def run(capsys, *argv: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    capsys.readouterr()
    code = main([str(word) for word in argv])
    said = capsys.readouterr()
    return code, said.out, said.err


def read_events(out: str) -> list[dict]:
    return [json.loads(line) for line in out.splitlines()]


def show_same_frames(one: Path, other: Path) -> bool:
    """Whether two videos decode to the same pixels."""
    return torch.equal(read_video(one).frames, read_video(other).frames)


def list_files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def interrupt_when(command: list[str], log: Path, ready: str, watched: Path | None = None) -> tuple[int, str]:
    """Runs a command as a process whose stderr goes into `log`, sends it SIGINT once `watched` (default: the log)
    holds `ready`, and returns exit code and stderr.

    The code is what a shell says: 130 also of a process that ends by the signal itself. Python does so, after all that
    the program says and returns, where the interrupt came within an exec(), and every dataclass is made by one.
    """
    with log.open("w") as err:
        default = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}  # pytest may run with it ignored
        process = subprocess.Popen(
            [sys.executable, "-m", "flashvideo_core", *command],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=err,
            **default,
        )
    watched, deadline = watched or log, time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if watched.exists() and ready in watched.read_text():
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    try:
        code = process.wait(60)
        return 128 + signal.SIGINT if code == -signal.SIGINT else code, log.read_text()
    finally:
        process.kill()  # one that did not stop would take both cores from the tests that follow
