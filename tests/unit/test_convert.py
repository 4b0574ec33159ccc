"""The converter: what it writes, and that nothing half-written stays."""

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from support.weight_files import STAGE1_PT, STAGE2_PT, VAE_PT

from flashvideo_core.checkpoint import load_transformer, load_vae, open_weights
from flashvideo_core.config import from_json
from flashvideo_core.convert import FORMATS, convert
from flashvideo_core.weights.reader import file_sha256

ALL = pytest.mark.parametrize("source", [STAGE1_PT, STAGE2_PT, VAE_PT], ids=lambda path: path.stem)


def load(path):
    return load_vae(path) if "vae" in Path(path).stem else load_transformer(path)


@ALL
def test_float32_loads_bit_for_bit(tmp_path, source):
    target = tmp_path / f"{source.stem}.safetensors"
    summary = convert(source, target, "float32")
    before, after = load(source), load(target)
    assert after.config == before.config
    assert after.state_dict().keys() == before.state_dict().keys()
    for name, value in before.state_dict().items():
        assert torch.equal(after.state_dict()[name], value), name
    assert summary["tensors"] == len(before.state_dict())
    assert summary["bytes"] == target.stat().st_size
    assert json.dumps(summary)


@ALL
@pytest.mark.parametrize("dtype", ["stored", "bf16", "fp16"])
def test_half_precision_is_the_merged_float32_rounded_once(tmp_path, source, dtype):
    target = tmp_path / f"{source.stem}.safetensors"
    convert(source, target, dtype)
    stored = torch.float16 if source == VAE_PT else torch.bfloat16
    wanted = {"stored": stored, "bf16": torch.bfloat16, "fp16": torch.float16}[dtype]
    written = load_file(target)
    for name, value in load(source).state_dict().items():
        assert written[name].dtype == wanted
        assert torch.equal(written[name], value.to(wanted)), name


@ALL
def test_metadata_and_layout(tmp_path, source):
    target = tmp_path / f"{source.stem}.safetensors"
    summary = convert(source, target)
    with safe_open(target, framework="pt") as file:
        metadata = file.metadata()
    assert metadata["source_sha256"] == summary["source_sha256"] == file_sha256(source)
    assert from_json(metadata["config"]) == load(source).config
    data = target.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    del header["__metadata__"]
    spans = sorted(entry["data_offsets"] for entry in header.values())
    assert length % 8 == 0
    assert spans[0][0] == 0
    assert spans[-1][1] == len(data) - 8 - length
    assert all(a[1] == b[0] for a, b in zip(spans, spans[1:], strict=False))  # noqa: RUF007


def test_our_files_convert_again(tmp_path):
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    convert(STAGE1_PT, first, "float32")
    convert(first, second, "bf16")
    assert open_weights(second).origin == "ours"
    direct = tmp_path / "c.safetensors"
    convert(STAGE1_PT, direct, "bf16")
    for name, value in load_file(direct).items():
        assert torch.equal(load_file(second)[name], value)


def test_a_stop_leaves_nothing_behind(tmp_path):
    target = tmp_path / "stage1.safetensors"

    def stop(phase, step, total, preview):
        assert (phase, preview) == ("convert", None)
        assert any(p.name.endswith(".part") for p in tmp_path.iterdir())
        assert not target.exists()
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(STAGE1_PT, target, callback=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_stop_keeps_the_older_file(tmp_path):
    target = tmp_path / "stage1.safetensors"
    convert(STAGE1_PT, target)
    before = target.read_bytes()

    def stop(*args):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(STAGE1_PT, target, "float32", stop)
    assert target.read_bytes() == before


def test_callback_counts_parameters(tmp_path):
    steps = []
    convert(STAGE2_PT, tmp_path / "out.safetensors", callback=lambda *args: steps.append(args))
    total = len(load_transformer(STAGE2_PT).state_dict())
    assert steps == [("convert", i + 1, total, None) for i in range(total)]


def test_bad_targets(tmp_path):
    source = tmp_path / "source.safetensors"
    convert(STAGE2_PT, source)
    before = source.read_bytes()
    (tmp_path / "link.safetensors").symlink_to(source)
    (tmp_path / "folder.safetensors").mkdir()
    for target, says in (
        (source, "is the source itself"),
        (tmp_path / "link.safetensors", "is the source itself"),
        (tmp_path / "out.pt", r"must end in \.safetensors"),
        (tmp_path / "nowhere" / "out.safetensors", "is not a folder"),
        (tmp_path / "folder.safetensors", "is a folder"),
    ):
        with pytest.raises(ValueError, match=says):
            convert(source, target)
    with pytest.raises(ValueError, match=f"dtype is 'int3'; choose one of {', '.join(FORMATS)}"):
        convert(source, tmp_path / "out.safetensors", "int3")
    assert source.read_bytes() == before


def test_bad_sources(tmp_path):
    path = tmp_path / "text.pt"
    path.write_text("not weights")
    with pytest.raises(ValueError, match="neither safetensors nor"):
        convert(path, tmp_path / "out.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["text.pt"]


def test_fp16_refuses_what_it_cannot_hold(tmp_path):
    content = torch.load(STAGE2_PT, weights_only=True)
    content["module"]["model.diffusion_model.transformer.final_layernorm.bias"][3] = 1e6
    torch.save(content, tmp_path / "large.pt")
    with pytest.raises(ValueError, match=r"norm_out\.bias does not fit fp16"):
        convert(tmp_path / "large.pt", tmp_path / "out.safetensors", "fp16")
    convert(tmp_path / "large.pt", tmp_path / "out.safetensors", "bf16")
