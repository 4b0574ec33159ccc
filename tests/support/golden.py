"""The golden data: where it lies, and how a result is compared with it.

`compare` takes our results under the names that the golden file uses, and fails when a recorded array is
neither compared nor named as an input, so that none is forgotten.
"""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import Tensor

DATA = Path(__file__).parents[1] / "data"
SHARED = Path(__file__).parents[3] / "shared" / "golden"  # too large for the repository
CHECKPOINTS = DATA / "checkpoints"
CONFIG = json.loads((DATA / "config.json").read_text())
STAGE1_SCALE = CONFIG["constants"]["stage1_scale_factor"]
STAGE2_SCALE = CONFIG["constants"]["stage2_scale_factor"]

ONE_PASS, SAMPLING = 2e-5, 5e-5  # largest error over largest value, float32
MEASURED: dict[str, tuple[float, str]] = {}  # file -> worst error seen in this run, shown at its end


def load_golden(name: str, prefix: str = "") -> dict[str, Tensor]:
    """The arrays of a golden file whose names begin with prefix, without it. Skips the test if it is not there."""
    path = next((folder / f"{name}.safetensors" for folder in (DATA, SHARED) if _has(folder, name)), None)
    if path is None:
        pytest.skip(f"GOLDEN DATA ABSENT: {name}.safetensors is neither in {DATA} nor in {SHARED}")
    return {key.removeprefix(prefix): value for key, value in load_file(path).items() if key.startswith(prefix)}


def _has(folder: Path, name: str) -> bool:
    return (folder / f"{name}.safetensors").is_file()


def error(ours: Tensor, golden: Tensor) -> float:
    """Largest error over largest value."""
    assert ours.shape == golden.shape, f"shape {tuple(ours.shape)}, recorded {tuple(golden.shape)}"
    largest = golden.double().abs().max().item()
    return (ours.double() - golden.double()).abs().max().item() / (largest or 1.0)


def equal_to_the_last_bit(ours: Tensor, golden: Tensor) -> bool:
    """Schedules are in [0, 1]; float32 roots and products of the recording differ by one bit between CPUs."""
    return error(ours, golden) <= 2.0**-23


def compare(file: str, ours: dict[str, Tensor], golden: dict[str, Tensor], inputs: set[str], tolerance: float) -> None:
    """Every recorded array is an input or within tolerance of ours."""
    assert ours.keys() | inputs == golden.keys(), f"not compared: {golden.keys() - ours.keys() - inputs}"
    errors = {name: error(value, golden[name]) for name, value in ours.items()}
    worst = max(errors, key=errors.get)
    MEASURED[file] = max(MEASURED.get(file, (0.0, worst)), (errors[worst], worst))
    bad = {name: f"{value:.1e}" for name, value in errors.items() if not value <= tolerance}
    assert not bad, f"above {tolerance}: {bad}"
