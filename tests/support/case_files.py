"""The small odd input files of ../shared/cases, made by its script."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "shared" / "cases" / "make_cases.py"  # beside the repository
NEEDS = ("imageio_ffmpeg", "PIL")


def make_case_files(folder: Path) -> Path:
    """The folder, with all files in it. Skips the test where the script or what it needs is not there."""
    if not SCRIPT.is_file():
        pytest.skip(f"CASES ABSENT: there is no {SCRIPT}")
    if missing := [name for name in NEEDS if importlib.util.find_spec(name) is None]:
        pytest.skip(f"CASES NOT MADE: {' and '.join(missing)} not installed (the extra `test` has them)")
    subprocess.run([sys.executable, str(SCRIPT), str(folder)], check=True, capture_output=True, timeout=300)
    return folder
