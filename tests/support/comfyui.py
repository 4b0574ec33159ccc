"""Where the tests find ComfyUI, and its Python for scripts that need it in their own process.

`$COMFYUI_PATH` (default ~/comfy/ComfyUI) and `$COMFYUI_PYTHON` (default .venv in there) name the installation.
Tests marked comfyui are skipped by tests/conftest.py where `find_fault` names a reason.
"""

import functools
import os
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.comfyui import comfyui_path, comfyui_python

PACK = Path(__file__).resolve().parents[2]
COMFYUI_PATH, COMFYUI_PYTHON = comfyui_path(), comfyui_python()
_PROBE = """
import comfy.options, sys
comfy.options.enable_args_parsing()
sys.argv = ["main.py", "--cpu"]
import server, nodes
"""

Prompt = dict[str, dict[str, Any]]
"""A graph in the API form: {node id: {"class_type": ..., "inputs": {...}}}."""

Workflow = dict[str, Any]
"""A graph in the UI form, as the editor saves it: nodes, links, ..."""

NodeInfo = dict[str, Any]
"""A node's definition, as /object_info gives it: input, output, ..."""


@functools.cache
def find_fault() -> str | None:
    """Why ComfyUI cannot run here, in one line; None where it can. Imports once, in its Python, what its server does:
    an unfinished environment would fail in every test."""
    if not (COMFYUI_PATH / "main.py").is_file():
        return f"NO COMFYUI: no main.py in {COMFYUI_PATH}; set COMFYUI_PATH"
    if not COMFYUI_PYTHON.is_file():
        return f"NO COMFYUI: no Python at {COMFYUI_PYTHON}; set COMFYUI_PYTHON"
    try:
        run_in_comfyui("-c", _PROBE, timeout=300)
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        reason = str(error).strip().splitlines()[-1]
        return f"NO COMFYUI: the environment of {COMFYUI_PYTHON} is unfinished or broken: {reason}"
    return None


def run_in_comfyui(script: str | Path, *args: str, timeout: float = 1800) -> str:
    """Runs a script file with ComfyUI's Python and ComfyUI importable; its output, or an error with all of it."""
    environment = {**os.environ, "COMFYUI_PATH": str(COMFYUI_PATH), "PYTHONPATH": str(COMFYUI_PATH)}
    command = [str(COMFYUI_PYTHON), str(script), *args]
    done = subprocess.run(command, cwd=COMFYUI_PATH, env=environment, capture_output=True, text=True, timeout=timeout)
    if done.returncode:
        raise RuntimeError(f"{script} ended with code {done.returncode}:\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}")
    return done.stdout
