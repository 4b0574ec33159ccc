"""A ComfyUI that lacks something the pack uses is told in words: which name, and where it is used."""

import json
from pathlib import Path

import pytest
from support import host_names
from support.comfyui import PACK, run_in_comfyui

pytestmark = pytest.mark.comfyui


def find_missing(folder: Path) -> list[str]:
    return json.loads(run_in_comfyui(host_names.__file__, str(folder)).splitlines()[-1])


def test_the_installed_comfyui_has_every_name_that_the_pack_uses():
    assert find_missing(PACK / "nodes") == []


def test_the_bridge_is_alone_with_comfy():
    used = {use.name.split(".")[0] for path in PACK.glob("nodes/*.py") for use in host_names.find_uses(path)}
    assert "comfy" not in used
    bridge = [use.name for path in PACK.glob("nodes/bridge/*.py") for use in host_names.find_uses(path)]
    assert "comfy.samplers.CFGGuider" in bridge and len(set(bridge)) > 60


def test_what_is_missing_is_named_with_its_place(tmp_path):
    (tmp_path / "code.py").write_text(
        "import comfy.sd\nimport comfy.model_management as mm\nfrom comfy.gone import away\n"
        "comfy.sd.load_clip([], clip_type=1, colour=2)\nmm.get_torch_device\nmm.get_torch_gadget()\n"
    )
    lines, place = find_missing(tmp_path), f"{tmp_path}/code.py"
    assert len(lines) == 3, lines
    assert f"comfy.sd.load_clip() takes no colour, used at {place}:4" in lines
    assert any(line.startswith("comfy.gone.away is missing") and line.endswith(f"{place}:1") for line in lines)
    assert any(line.startswith("comfy.model_management.get_torch_gadget is missing") for line in lines)
