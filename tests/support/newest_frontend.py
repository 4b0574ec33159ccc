"""The newest comfyui-frontend-package, unpacked for ComfyUI's --front-end-root."""

import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import pytest

PACKAGE = "comfyui-frontend-package"


def fetch_newest_frontend(folder: Path) -> Path:
    """Unpacks the wheel from the package index in a folder; its static files. Skips, with a warning, if it cannot."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", str(folder), PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode:
        reason = f"NO NEWEST EDITOR: {PACKAGE} cannot be downloaded: {done.stderr.strip()[-300:]}"
        warnings.warn(reason, stacklevel=2)
        pytest.skip(reason)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder / PACKAGE.replace("-", "_") / "static"
