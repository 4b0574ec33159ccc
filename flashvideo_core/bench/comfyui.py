"""Where ComfyUI is: `$COMFYUI_PATH` (default ~/comfy/ComfyUI) and `$COMFYUI_PYTHON` (default .venv in there)."""

import os
import sys
from pathlib import Path


def comfyui_path() -> Path:
    return Path(os.environ.get("COMFYUI_PATH", Path.home() / "comfy" / "ComfyUI"))


def comfyui_python() -> Path:
    return Path(os.environ.get("COMFYUI_PYTHON", comfyui_path() / ".venv" / "bin" / "python"))


def prepare_comfyui(cpu: bool) -> None:
    """ComfyUI's code becomes importable in this process, set to the CPU or with its defaults."""
    sys.path.insert(0, str(comfyui_path()))
    from comfy.cli_args import args

    args.cpu = cpu
