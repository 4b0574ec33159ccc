"""The suite beside a ComfyUI that cannot start: every test that needs it is skipped, with one line that says why."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.cli_run import ROOT

NEEDS_COMFYUI = ("tests/comfyui/test_node_schemas.py", "tests/comfyui/test_review.py")


def make_installation(folder: Path, server: str) -> Path:
    """The files of a ComfyUI that its start imports; `server` is the code of its module of that name."""
    (folder / "comfy").mkdir(parents=True)
    for name in ("main.py", "nodes.py", "comfy/__init__.py"):
        (folder / name).write_text("")
    (folder / "comfy" / "options.py").write_text("def enable_args_parsing(): ...\n")
    (folder / "server.py").write_text(server)
    return folder


def run_suite(comfyui: Path, python: str) -> tuple[int, str]:
    environment = {**os.environ, "COMFYUI_PATH": str(comfyui), "COMFYUI_PYTHON": python}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *NEEDS_COMFYUI]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("server", "python", "reason"),
    [
        ("import torchvision_that_is_missing", sys.executable, "No module named 'torchvision_that_is_missing'"),
        ("raise OSError('undefined symbol: _ZN5torch')", sys.executable, "undefined symbol: _ZN5torch"),
        ("", "/nonexistent/python", "no Python at /nonexistent/python"),
    ],
)
def test_an_installation_that_cannot_start_is_one_line(tmp_path, server, python, reason):
    code, out = run_suite(make_installation(tmp_path / "ComfyUI", server), python)
    assert code == 0, out
    lines = [line for line in out.splitlines() if "NO COMFYUI" in line]
    assert len(lines) == 1 and reason in lines[0], out
    skipped = int(re.search(r"SKIPPED \[(\d+)\]", lines[0])[1])
    assert re.search(rf"^{skipped} skipped in", out, re.MULTILINE), out
    assert skipped > len(NEEDS_COMFYUI)


def test_no_checkout_is_one_line(tmp_path):
    code, out = run_suite(tmp_path, sys.executable)
    assert code == 0 and f"no main.py in {tmp_path}" in out
