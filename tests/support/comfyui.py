"""Where the tests find ComfyUI, and its Python for scripts that need it in their own process.

`$COMFYUI_PATH` (default ~/comfy/ComfyUI) and `$COMFYUI_PYTHON` (default .venv in there) name the installation.
"""

import os
import subprocess
import warnings
from pathlib import Path
from typing import Any

import pytest

from benchmarks.comfyui import comfyui_path, comfyui_python

PACK = Path(__file__).resolve().parents[2]
COMFYUI_PATH, COMFYUI_PYTHON = comfyui_path(), comfyui_python()
AVAILABLE = (COMFYUI_PATH / "main.py").is_file() and COMFYUI_PYTHON.is_file()
REASON = f"NO COMFYUI: no main.py in {COMFYUI_PATH} or no Python at {COMFYUI_PYTHON}; set COMFYUI_PATH, COMFYUI_PYTHON"

if not AVAILABLE:
    warnings.warn(f"{REASON}. Every test marked comfyui is skipped.", stacklevel=1)

requires_comfyui = pytest.mark.skipif(not AVAILABLE, reason=REASON)

Prompt = dict[str, dict[str, Any]]
"""A graph in the API form: {node id: {"class_type": ..., "inputs": {...}}}."""

Workflow = dict[str, Any]
"""A graph in the UI form, as the editor saves it: nodes, links, ..."""

NodeInfo = dict[str, Any]
"""A node's definition, as /object_info gives it: input, output, ..."""


def run_in_comfyui(script: str | Path, *args: str, timeout: float = 1800) -> str:
    """Runs a script file with ComfyUI's Python and ComfyUI importable; its output, or an error with all of it."""
    environment = {**os.environ, "COMFYUI_PATH": str(COMFYUI_PATH), "PYTHONPATH": str(COMFYUI_PATH)}
    command = [str(COMFYUI_PYTHON), str(script), *args]
    done = subprocess.run(command, cwd=COMFYUI_PATH, env=environment, capture_output=True, text=True, timeout=timeout)
    if done.returncode:
        raise RuntimeError(f"{script} ended with code {done.returncode}:\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}")
    return done.stdout
