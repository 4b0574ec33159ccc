"""Files as ComfyUI's save nodes write them: bare names, the config as a tensor, several components in one."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support.weight_files import check_refused

from flashvideo_core.checkpoint import load_text, load_transformer, load_vae, make_metadata, open_weights
from flashvideo_core.cli.describe import describe_file
from flashvideo_core.components import TINY, is_word_encoder, read_component_configs
from flashvideo_core.convert import convert
from flashvideo_core.weights.wrappers import METADATA, pack_metadata

PREFIXES = {"stage1": "model.diffusion_model.", "vae": "first_stage_model.", "text": "cond_stage_model.encoder."}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """The embedded model as CheckpointSave writes it."""
    tensors = {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
    for name, prefix in PREFIXES.items():
        weights = open_weights(TINY / f"{name}.safetensors")
        packed = pack_metadata(weights.metadata | make_metadata(weights.config, "of another file"))
        tensors |= {prefix + key: value for key, value in {**weights.tensors, **packed}.items()}
    path = tmp_path_factory.mktemp("saved") / "all.safetensors"
    save_file(tensors, path, {"prompt": "{}"})
    return path


def test_every_component_of_a_checkpoint_is_read(checkpoint):
    for name, load in (("stage1", load_transformer), ("vae", load_vae)):
        found, wanted = load(checkpoint), load(TINY / f"{name}.safetensors")
        assert found.config == wanted.config
        for key, tensor in wanted.state_dict().items():
            assert torch.equal(found.state_dict()[key], tensor), key
    assert load_text(checkpoint)[1] == load_text(TINY / "text.safetensors")[1]
    assert is_word_encoder(checkpoint)
    configs = read_component_configs({"stage1": checkpoint, "vae": checkpoint, "text": checkpoint})
    assert configs == read_component_configs({name: TINY / f"{name}.safetensors" for name in PREFIXES})


def test_the_first_component_is_what_it_is_called(checkpoint, tmp_path):
    facts = describe_file(checkpoint)
    assert (facts["kind"], facts["origin"]) == ("transformer of stage 1", "ours")
    assert "source_sha256" not in facts
    convert(checkpoint, tmp_path / "stage1.safetensors")
    wanted = load_transformer(TINY / "stage1.safetensors")
    converted = load_transformer(tmp_path / "stage1.safetensors")
    assert converted.config == wanted.config
    assert all(torch.equal(t, converted.state_dict()[name]) for name, t in wanted.state_dict().items())


def test_without_the_config_sizes_come_from_the_names(tmp_path, stage1, stage2, vae):
    for model, load, prefix in (
        (stage1, load_transformer, "model.diffusion_model."),
        (stage2, load_transformer, ""),
        (vae, load_vae, ""),
    ):
        path = tmp_path / "old.safetensors"
        save_file({prefix + name: tensor for name, tensor in model.state_dict().items()}, path)
        assert load(path).config == model.config


@pytest.mark.parametrize("text", [b"\xff", b"[" * 100_000, b"7", json.dumps({"config": "{"}).encode()])
def test_a_damaged_config_is_refused(tmp_path, stage1, text):
    path = tmp_path / "bad.safetensors"
    save_file({**stage1.state_dict(), METADATA: torch.tensor(list(text), dtype=torch.uint8)}, path)
    check_refused(load_transformer, path, "cannot be read")
    save_file({**stage1.state_dict(), METADATA: torch.zeros(3, 2)}, path)
    check_refused(load_transformer, path, METADATA)
