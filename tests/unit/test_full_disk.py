"""A disk that takes no more: one sentence names the file and what is kept, and what was there stays whole.

The operating system refuses the write itself: RLIMIT_FSIZE, in this process for the writers, in one of its own for
commands.
"""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.cli_run import ROOT, SMALL, component_options, list_files, run
from support.golden import CHECKPOINTS
from support.own_clips import weight_options, write_data_set
from torch import nn

from flashvideo_core.cli.outputs import write_json
from flashvideo_core.convert import convert
from flashvideo_core.errors import WriteError
from flashvideo_core.media.draft_file import save_draft
from flashvideo_core.media.video_writer import write_video
from flashvideo_core.training import cache, contact_sheet, loss_log, state
from flashvideo_core.training.distributed import SINGLE_PROCESS
from flashvideo_core.training.loop import LoopConfig, make_state
from flashvideo_core.weights.atomic import check_writable, save_weights

resource = pytest.importorskip("resource", reason="NO RLIMIT: a full disk cannot be pretended here")

Z = torch.rand(1, 16, 2, 20, 20)
CLIP = torch.rand(3, 2, 64, 64) * 2 - 1


@contextmanager
def small_files(limit: int) -> Iterator[None]:
    """No file of this process may grow over `limit` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def save_training_state(path: Path) -> None:
    state.save_state(path, 3, make_state(nn.Linear(40, 40), LoopConfig(steps=4, lr=0.1)), SINGLE_PROCESS)


WRITERS: dict[str, Callable[[Path], object]] = {
    "state.pt": save_training_state,
    "clip.safetensors": lambda path: cache.write_tensor(path, "z", Z),
    "lora.safetensors": lambda path: save_weights(path, {"z": Z}, {}),
    "stage1.safetensors": lambda path: convert(CHECKPOINTS / "stage1.pt", path),
    "stage1.gguf": lambda path: convert(CHECKPOINTS / "stage1.pt", path, "q8_0"),
    "draft.safetensors": lambda path: save_draft(path, Z, {}),
    "final.mp4": lambda path: write_video(path, torch.rand(5, 64, 64, 3), 8),
    "clip.json": lambda path: write_json(path, {"prompt": "x" * 1000}),
    "sheet.png": lambda path: contact_sheet.write_contact_sheet([(CLIP, CLIP)], path),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("existed", [False, True])
def test_every_writer_names_its_file_and_leaves_what_was_there(tmp_path, name, existed):
    path = tmp_path / name
    if existed:
        WRITERS[name](path)
    before = path.read_bytes() if existed else None
    with small_files(64), pytest.raises(WriteError) as caught:
        WRITERS[name](path)
    says = f"{path} cannot be written (File too large)"
    assert str(caught.value) == says + (", and is as it was before" if existed else "")
    assert list_files(tmp_path) == ({name} if existed else set())
    assert (path.read_bytes() if existed else None) == before


def test_the_picture_of_the_losses(tmp_path):
    loss_log.truncate_log(tmp_path / "loss.csv", 0)
    for step in range(3):
        loss_log.append_log(tmp_path / "loss.csv", step, 0.5, 0.1)
    with small_files(64), pytest.raises(WriteError, match=r"loss\.png cannot be written"):
        loss_log.plot_losses(tmp_path / "loss.png", {"stage 1": tmp_path / "loss.csv"})


def test_a_line_of_the_log(tmp_path):
    log = tmp_path / "loss.csv"
    loss_log.truncate_log(log, 0)
    loss_log.append_log(log, 0, 0.5, 0.1)
    with small_files(log.stat().st_size + 3), pytest.raises(WriteError, match=r"loss\.csv cannot be written"):
        loss_log.append_log(log, 1, 0.25, 0.1)
    loss_log.truncate_log(log, 1)
    loss_log.append_log(log, 1, 0.25, 0.1)
    assert loss_log.read_log(log) == [(0, 0.5), (1, 0.25)]


def test_a_folder_on_a_full_disk(tmp_path):
    with small_files(0), pytest.raises(WriteError, match=f"cannot write into the folder {tmp_path}: File too large"):
        check_writable(tmp_path)


def test_a_process_killed_while_it_tries_a_folder_leaves_nothing(tmp_path):
    """SIGXFSZ, which Python ignores, kills the child in the very write."""
    child = (
        "import resource, signal, sys; from flashvideo_core.weights.atomic import check_writable; "
        "signal.signal(signal.SIGXFSZ, signal.SIG_DFL); resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); "
        "check_writable(sys.argv[1])"
    )
    assert subprocess.run([sys.executable, "-c", child, tmp_path], cwd=ROOT).returncode == -signal.SIGXFSZ
    assert list_files(tmp_path) == set()


def run_limited(limit: int, *words: object) -> tuple[int, str]:
    """Exit code and stderr of a command whose files stay at or below `limit` bytes."""
    done = subprocess.run(
        [sys.executable, "-m", "flashvideo_core", *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    return done.returncode, done.stderr


PART = ".refined.side_by_side-0000.mp4"  # the first file to grow over the size of final.mp4
KEPT = {
    "draft.mp4": "the finished draft is kept in {folder}/draft.safetensors",
    "final.mp4": "the refined latent is kept in {folder}/.refined.safetensors, and the same command goes on from it",
}


@pytest.mark.parametrize("name", KEPT)
def test_generate_says_what_is_kept_and_goes_on_from_it(tmp_path, capsys, name):
    options = ["generate", "a red ball", *component_options(tmp_path), *SMALL]
    whole, folder = tmp_path / "whole", tmp_path / "clip"
    code, _, err = run(capsys, *options, "--output", whole)
    assert code == 0, err
    sizes = {path.name: path.stat().st_size for path in whole.iterdir()}
    code, err = run_limited(sizes[name] - 1, *options, "--output", folder)
    last, named = err.splitlines()[-1], PART if name == "final.mp4" else name
    assert (code, last) == (
        1,
        f"error: {folder}/{named} cannot be written (File too large); {KEPT[name].format(folder=folder)}",
    )
    assert "Traceback" not in err
    code, _, err = run(capsys, *options, "--output", folder)
    assert code == 0 and "going on from" in err, err
    for video in ("draft.mp4", "final.mp4", "side_by_side.mp4"):
        assert (folder / video).read_bytes() == (whole / video).read_bytes()


def test_training_keeps_its_last_state_and_goes_on_to_the_same_weights(tmp_path, capsys):
    write_data_set(tmp_path / "clips")
    folder, whole = tmp_path / "run", tmp_path / "whole"

    def command(where: Path) -> list[object]:
        small = ["--size", "32x48", "--frames", "5", "--rank", "2", "--lr", "0.01", "--variants", "1", "--steps", "4"]
        places = ["--data", tmp_path / "clips", "--folder", where, "--cache", tmp_path / "cache"]
        quiet = ["--sample-every", "0", "--save-every", "2", "--keep", "2"]
        return ["train", "stage2", *places, *weight_options(tmp_path), *small, *quiet]

    assert run(capsys, *command(whole))[0] == 0
    shutil.copytree(whole, folder)
    shutil.copyfile(folder / "state-00000002.pt", folder / "state.pt")
    (folder / "lora.safetensors").unlink()
    code, err = run_limited((whole / "state.pt").stat().st_size - 1, *command(folder))
    assert (code, err.splitlines()[-1]) == (
        1,
        f"error: {folder}/state.pt cannot be written (File too large), and is as it was before; "
        f"the same command goes on from the last state in {folder}",
    )
    assert "Traceback" not in err
    assert torch.load(folder / "state.pt")["step"] == 2
    assert run(capsys, *command(folder))[0] == 0
    ours, wanted = (load_file(path / "lora.safetensors") for path in (folder, whole))
    assert all(torch.equal(ours[name], wanted[name]) for name in wanted)
