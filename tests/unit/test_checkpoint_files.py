"""Files that are not weights, or other weights, or hostile: one line each, and nothing in them is executed."""

import json
import pickle
import struct
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from support.weight_files import STAGE1_PT, STAGE2_PT, VAE_PT, check_refused, read_released, save_released

from flashvideo_core.checkpoint import (
    load_transformer,
    load_vae,
    make_metadata,
)
from flashvideo_core.config import to_json
from flashvideo_core.weights.keys import RELEASED_PREFIX as PREFIX
from flashvideo_core.weights.reader import file_sha256


@pytest.fixture(scope="module")
def released():
    """The tensors of the released files by the file's stem, to be damaged."""
    return {path.stem: read_released(path) for path in (STAGE1_PT, STAGE2_PT, VAE_PT)}


def test_the_wrong_kind_of_weights():
    check_refused(load_vae, STAGE1_PT, "holds a Transformer, where a VAE is needed")
    check_refused(load_transformer, VAE_PT, "holds a VAE, where a Transformer is needed")


def test_another_models_weights(tmp_path):
    path = tmp_path / "sd15.safetensors"
    save_file({"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(4, 4, 3, 3)}, path)
    check_refused(load_transformer, path, "mixins.patch_embed.proj.weight")
    save_file({"transformer_blocks.0.attn1.to_q.weight": torch.zeros(4, 4)}, path)
    check_refused(load_transformer, path, "holds no FlashVideo transformer and no CogVideoX VAE")
    image_vae = {"encoder.down.0.block.0.conv1.weight": torch.zeros(8, 8, 3, 3), "quant_conv.bias": torch.zeros(8)}
    save_file(image_vae, path)
    check_refused(load_vae, path, "holds no FlashVideo transformer and no CogVideoX VAE")
    save_file({}, path)
    check_refused(load_vae, path, "0 other tensors")


@pytest.mark.parametrize("shape", [(), (7, 16, 2, 2), (0, 16, 2, 2)])
def test_impossible_sizes(tmp_path, released, shape):
    broken = released["stage2"] | {PREFIX + "mixins.patch_embed.proj.weight": torch.zeros(shape)}
    check_refused(load_transformer, save_released(tmp_path, broken))
    broken = released["3d-vae"] | {"encoder.conv_in.conv.weight": torch.zeros(shape)}
    check_refused(load_vae, save_released(tmp_path, broken, "state_dict"))


def test_impossible_config(tmp_path, stage2):
    path = tmp_path / "ours.safetensors"
    for change in ({"layers": "two"}, {"hidden": -64}, {"kind": "vae"}, {"time_dim": None}):
        config = json.dumps(json.loads(to_json(stage2.config)) | change)
        save_file(stage2.state_dict(), path, {"config": config})
        check_refused(load_transformer, path)


@pytest.mark.parametrize("part", [0.0001, 0.3, 0.999])
@pytest.mark.parametrize("name", ["released", "ours"])
def test_a_truncated_file(tmp_path, name, part, stage2):
    whole, path = STAGE2_PT, tmp_path / "cut"
    if name == "ours":
        whole = tmp_path / "whole.safetensors"
        save_file(stage2.state_dict(), whole, make_metadata(stage2.config))
    data = whole.read_bytes()
    path.write_bytes(data[: max(9, int(len(data) * part))])
    check_refused(load_transformer, path, "cut off or damaged")


def test_no_file_no_weights(tmp_path):
    check_refused(load_vae, tmp_path / "nowhere.pt", "does not exist")
    check_refused(load_vae, tmp_path, "is not a file")
    path = tmp_path / "file"
    for content, says in (
        (b"", "is empty"),
        (b"x", "neither safetensors nor a torch checkpoint"),
        (b"# notes on the model\nmore of them\n", "neither safetensors nor a torch checkpoint"),
        (pickle.dumps({"a": 1}), "bare pickle"),
    ):
        path.write_bytes(content)
        check_refused(load_vae, path, says)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<text/>")
    check_refused(load_vae, path, "a ZIP archive without weights")


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [1000], "data_offsets": [0, 4000]}},  # more data than there is
        {"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 8]}},  # shape and length disagree
        {"a": {"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}},  # a hole before it
        {"a": 7},
    ],
)
def test_a_safetensors_with_a_lying_header(tmp_path, header):
    text = json.dumps(header).encode()
    path = tmp_path / "lying.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    check_refused(load_vae, path, "cut off or damaged")
    path.write_bytes(struct.pack("<Q", 2**62) + text + bytes(8))  # a header longer than the file
    check_refused(load_vae, path, "cut off or damaged")


class Payload:
    """Unpickling this would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_code_in_a_pickle_is_refused_and_never_runs(tmp_path, released):
    proof = tmp_path / "it ran"
    for content in (Payload(proof), {"module": Payload(proof)}, {"module": released["stage1"] | {"x": Payload(proof)}}):
        path = tmp_path / "evil.pt"
        torch.save(content, path)
        check_refused(load_transformer, path, "carries code or objects", "never executed")
        path.write_bytes(pickle.dumps(content))
        check_refused(load_transformer, path, "bare pickle")
        torch.save(content, path, _use_new_zipfile_serialization=False)
        check_refused(load_transformer, path, "bare pickle")
        assert not proof.exists()
    torch.save(Payload(proof), tmp_path / "evil.pt")
    torch.load(tmp_path / "evil.pt", weights_only=False).close()
    assert proof.exists()  # the payload does work: the loader's refusal is what kept it from running


def test_objects_are_refused(tmp_path):
    path = tmp_path / "module.pt"
    torch.save(torch.nn.Linear(2, 2), path)
    check_refused(load_vae, path, "carries code or objects (torch.nn")
    for content in ([torch.zeros(2)], torch.zeros(2), {"module": {1: torch.zeros(2)}}):
        torch.save(content, path)
        check_refused(load_vae, path, "not a table of named tensors")
    torch.save({"module": {PREFIX + "step": 7}}, path)
    check_refused(load_vae, path, f"holds {PREFIX}step as a int, not a tensor")


def test_sha256(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert file_sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_golden_files_are_the_recorded_ones():
    assert file_sha256(STAGE1_PT) == "c348921bc6aab66423efe811d95a4b467cf3d5a34287c4d28031ba59ca74c348"
    assert file_sha256(STAGE2_PT) == "ca613df5ff722426c3bb384b26813557b8d7c7bc9ed33d5fc3939fac711a3057"
    assert file_sha256(VAE_PT) == "7266c5586af367c3876f6887657059e1c63bc454aea8ede2f7d4ece98bcd2c7c"
