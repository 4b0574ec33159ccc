"""Where ComfyUI is: `$COMFYUI_PATH` (default ~/comfy/ComfyUI) and `$COMFYUI_PYTHON` (default .venv in there)."""

import os
from pathlib import Path


def comfyui_path() -> Path:
    return Path(os.environ.get("COMFYUI_PATH", Path.home() / "comfy" / "ComfyUI"))


def comfyui_python() -> Path:
    return Path(os.environ.get("COMFYUI_PYTHON", comfyui_path() / ".venv" / "bin" / "python"))
