"""A draft on disk: what it keeps, who can read it, and what it refuses."""

import json
import os

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from flashvideo_core.media.draft_file import load_draft, save_draft

RECORD = {"prompt": "a red ball \N{EM DASH} \u00e9", "stage1": {"seed": 2**63, "cfg": 8.0, "negative": None}}


@pytest.fixture
def latent():
    return torch.randn(1, 16, 5, 8, 12, generator=torch.Generator().manual_seed(0))


def test_round_trip(tmp_path, latent):
    save_draft(tmp_path / "d.safetensors", latent.transpose(3, 4).contiguous().transpose(3, 4), RECORD)
    found, record = load_draft(tmp_path / "d.safetensors")
    assert torch.equal(found, latent) and record == RECORD


def test_comfyuis_load_latent_finds_what_it_looks_for(tmp_path, latent):
    """It reads latent_tensor, and leaves the values alone when latent_format_version_0 is there."""
    save_draft(tmp_path / "d.safetensors", latent, RECORD)
    with safe_open(tmp_path / "d.safetensors", "pt") as file:
        assert set(file.keys()) == {"latent_tensor", "latent_format_version_0"}
        assert json.loads(file.metadata()["flashvideo_draft"]) == RECORD
        assert torch.equal(file.get_tensor("latent_tensor"), latent)


def test_a_latent_of_comfyui_has_no_record(tmp_path, latent):
    save_file({"latent_tensor": latent.half()}, tmp_path / "c.safetensors", {"prompt": "{}"})
    found, record = load_draft(tmp_path / "c.safetensors")
    assert record == {} and found.dtype == torch.float32


def test_the_same_draft_is_the_same_bytes_and_everybody_can_read_it(tmp_path, latent):
    umask = os.umask(0o022)
    try:
        for name in "ab":
            save_draft(tmp_path / name, latent, RECORD)
    finally:
        os.umask(umask)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def test_a_failed_write_leaves_what_was_there_and_nothing_else(tmp_path, latent):
    save_draft(tmp_path / "d", latent, RECORD)
    with pytest.raises(TypeError):
        save_draft(tmp_path / "d", latent, {"not": {"for", "json"}})
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        save_draft(tmp_path / "folder", latent, RECORD)
    assert {path.name for path in tmp_path.iterdir()} == {"d", "folder"}
    assert load_draft(tmp_path / "d")[1] == RECORD


@pytest.mark.parametrize(
    ("tensors", "rule"),
    [
        ({"other": torch.zeros(1)}, "is no saved draft"),
        ({"latent_tensor": torch.zeros(16, 5, 8, 12)}, r"shape \[16, 5, 8, 12\]; \[1, 16, T, H, W\] is needed"),
        ({"latent_tensor": torch.zeros(2, 16, 5, 8, 12)}, r"shape \[2, 16, 5, 8, 12\]"),
        ({"latent_tensor": torch.zeros(1, 4, 5, 8, 12)}, r"shape \[1, 4, 5, 8, 12\]"),
        ({"latent_tensor": torch.zeros(1, 16, 0, 8, 12)}, r"shape \[1, 16, 0, 8, 12\]"),
        ({"latent_tensor": torch.full((1, 16, 1, 2, 2), torch.nan)}, "holds NaN"),
    ],
)
def test_what_is_no_draft_is_refused(tmp_path, tensors, rule):
    save_file(tensors, tmp_path / "d.safetensors")
    with pytest.raises(ValueError, match=rule):
        load_draft(tmp_path / "d.safetensors")


def test_damaged_files_are_refused(tmp_path, latent):
    save_draft(tmp_path / "d", latent, RECORD)
    (tmp_path / "short").write_bytes((tmp_path / "d").read_bytes()[:-100])
    (tmp_path / "text").write_text("no draft")
    save_file({"latent_tensor": latent}, tmp_path / "meta", {"flashvideo_draft": "{"})
    for name, rule in {
        "short": "no saved draft",
        "text": "no saved draft",
        "meta": "damaged",
        "absent": "no saved",
    }.items():
        with pytest.raises(ValueError, match=rule):
            load_draft(tmp_path / name)
