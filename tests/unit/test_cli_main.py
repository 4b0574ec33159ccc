"""What becomes of an error: bad input, a machine that lacks something, an interruption, a bug."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from support.cli_run import run

from flashvideo_core.cli import info
from flashvideo_core.errors import InputError
from flashvideo_core.memory.exhausted import PhaseOutOfMemoryError, is_out_of_memory

ROOT = Path(__file__).parents[2]


def run_raising(capsys, monkeypatch, error, *argv):
    def fail(args, reporter):
        raise error

    monkeypatch.setattr(info, "run", fail)
    return run(capsys, "info", *argv)


SAID = {
    "width is 7; it must be even": (InputError("width is 7;\n it must be even"), 2),
    "out of memory": (MemoryError(), 1),
    "CUDA out of memory. Tried": (torch.OutOfMemoryError("CUDA out of memory. Tried"), 1),
    "out of memory: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when": (
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when"),
        1,
    ),
    "out of memory in stage 1; the draft is kept": (
        PhaseOutOfMemoryError("out of memory in stage 1", "the draft is kept"),
        1,
    ),
    "No space left on device": (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), 1),
    "Connection refused": (ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED)), 1),
    "given.pt: No such file or directory": (
        FileNotFoundError(errno.ENOENT, "No such file or directory", "given.pt"),
        2,
    ),
    "folder/clip.json: Permission denied": (PermissionError(errno.EACCES, "Permission denied", "folder/clip.json"), 2),
}


@pytest.mark.parametrize(("text", "case"), SAID.items(), ids=SAID)
def test_one_line(text, case, capsys, monkeypatch):
    error, code = case
    assert run_raising(capsys, monkeypatch, error, "given.pt", "folder") == (code, "", f"error: {text}\n")


BUGS = [
    ValueError("zip() argument 2 is shorter than argument 1"),
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    TypeError("unhashable"),
    KeyError("stage1"),
    FileNotFoundError(errno.ENOENT, "No such file or directory", str(ROOT / "flashvideo_core/tiny/lost")),
]


@pytest.mark.parametrize("bug", BUGS, ids=[type(bug).__name__ for bug in BUGS])
def test_a_bug_shows_where_it_happened_and_how_to_report_it(bug, capsys, monkeypatch):
    code, out, err = run_raising(capsys, monkeypatch, bug, "given.pt")
    assert (code, out) == (1, "") and not is_out_of_memory(bug)
    assert "Traceback (most recent call last)" in err and "in fail" in err
    assert err.splitlines()[-1].startswith("error: this is a bug") and err.endswith("/issues\n")


def test_a_bug_ends_the_events_of_a_program(capsys, monkeypatch):
    code, out, _ = run_raising(capsys, monkeypatch, ValueError("x"), "given.pt", "--json")
    assert code == 1 and json.loads(out)["event"] == "error"


def test_sigterm_is_ctrl_c(capsys, monkeypatch):
    def wait(args, reporter):
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(5)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(info, "run", wait)
    code, _, err = run(capsys, "info")
    assert (code, err) == (130, "interrupted: stopped before anything was finished\n")
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_command_in_a_thread_has_no_signals(capsys, monkeypatch):
    codes = []
    monkeypatch.setattr(info, "run", lambda args, reporter: None)
    thread = threading.Thread(target=lambda: codes.append(run(capsys, "info")[0]))
    thread.start()
    thread.join()
    assert codes == [0]


def test_help_needs_no_torch():
    code = "import sys; from flashvideo_core.cli.main import main\nassert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_embedded_model_needs_no_compiler():
    """torch._dynamo, which some initialisations import on the meta device, takes longer than the model itself."""
    code = "import sys; from flashvideo_core.pipeline import load_pipeline\nload_pipeline(device='cpu')\n"
    code += "assert 'torch._dynamo' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
