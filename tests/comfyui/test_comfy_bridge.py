"""The bridge inside ComfyUI: every check of checks/, run in one process of ComfyUI's Python."""

import json
import re
from pathlib import Path

import pytest
from core_table import CASES
from support.comfyui import run_in_comfyui

SCRIPT = Path(__file__).with_name("checks")
FILES = sorted(SCRIPT.glob("*.py"))
CHECKS = CASES + [name for file in FILES for name in re.findall(r"^def (check_\w+)", file.read_text(), re.MULTILINE)]

pytestmark = pytest.mark.comfyui


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[str, str | None]:
    path = tmp_path_factory.mktemp("comfy") / "results.json"
    run_in_comfyui(SCRIPT, str(path))
    return json.loads(path.read_text())


@pytest.mark.parametrize("check", CHECKS)
def test_bridge(results, check):
    if (results[check] or "").startswith("SKIP "):
        pytest.skip(results[check].removeprefix("SKIP "))
    assert results[check] is None, results[check]
