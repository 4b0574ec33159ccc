"""Files that are not what their name says: every loader says in one line what they are."""

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file
from support.weight_files import STAGE1_PT, STAGE2_PT, check_refused, read_released

from flashvideo_core.checkpoint import load_transformer, load_vae, make_metadata, open_weights
from flashvideo_core.cli.describe import describe_file
from flashvideo_core.components import load_embeddings, load_pipeline
from flashvideo_core.convert import convert
from flashvideo_core.media.draft_file import load_draft
from flashvideo_core.media.video_reader import probe_video


def make_zip(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, "x")
    return buffer.getvalue()


SAFETENSORS = save({"a": torch.zeros(100)})
TORCH = STAGE2_PT.read_bytes()
FOREIGN = {
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 11802537\n",
    "a web page (HTML)": b"\n <!DOCTYPE html>\n<html><head><title>Sign in</title>",
    "a server's error": b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
    "saved in several files (shards)": json.dumps({"metadata": {}, "weight_map": {"a": "b"}}, indent=2).encode(),
    "is JSON": b'{"_class_name": "CogVideoXTransformer3DModel"}',
    "is empty": b"",
    "compressed with gzip": gzip.compress(b"x"),
    "a ZIP archive with model.safetensors in it": make_zip("model.safetensors"),
    "a ZIP archive without weights": make_zip("word/document.xml"),
    "a bare pickle": b"\x80\x02}q\x00.",
    "a video": b"\x00\x00\x00\x20ftypisom",
    "a PNG picture": b"\x89PNG\r\n\x1a\n",
    "its header alone has": SAFETENSORS[:40],
    f"{len(SAFETENSORS) - 100} of {len(SAFETENSORS)} bytes are there": SAFETENSORS[:-100],
    "its list of contents, is missing": TORCH[: len(TORCH) // 2],
    "neither safetensors nor a torch checkpoint": b"notes on the model\n",
}


def load_as_text(path: Path) -> object:
    return load_pipeline(text=path, device="cpu")


LOADERS: list[Callable[[Path], object]] = [
    load_transformer, load_vae, open_weights, load_embeddings, load_draft, load_as_text, describe_file,
]  # fmt: skip


@pytest.mark.parametrize("loader", LOADERS, ids=lambda loader: loader.__name__)
@pytest.mark.parametrize("says", FOREIGN)
def test_a_foreign_file_is_named(tmp_path, loader, says):
    path = tmp_path / "stage1.safetensors"
    path.write_bytes(FOREIGN[says])
    check_refused(loader, path, says)


@pytest.mark.parametrize("says", ["a Git LFS pointer", "a web page (HTML)"])
def test_what_lies_where_a_video_should(tmp_path, says):
    path = tmp_path / "clip.mp4"
    path.write_bytes(FOREIGN[says])
    check_refused(probe_video, path, says)


def test_convert_names_it(tmp_path):
    path = tmp_path / "stage1.pt"
    path.write_bytes(FOREIGN["a Git LFS pointer"])
    check_refused(lambda path: convert(path, tmp_path / "out.safetensors"), path, "a Git LFS pointer")
    check_refused(lambda lora: convert(STAGE1_PT, tmp_path / "o.safetensors", lora=lora), path, "a Git LFS pointer")


@pytest.mark.parametrize("name", ["weights.bin", "weights.dat", "weights"])
def test_a_torch_file_of_another_name(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(TORCH)
    assert load_transformer(path).config.stage == 2
    assert describe_file(path)["kind"] == "transformer of stage 2"
    check_refused(load_draft, path, "is a torch checkpoint, where a safetensors file is needed")
    path = path.rename(tmp_path / "weights.safetensors")
    for loader in LOADERS:
        check_refused(loader, path, "a torch checkpoint with the name of a safetensors file")


def test_one_of_several_files(tmp_path, stage1):
    half = dict(list(stage1.state_dict().items())[::2])
    path = tmp_path / "model-00001-of-00003.safetensors"
    save_file(half, path, make_metadata(stage1.config))
    check_refused(load_transformer, path, "shard 1 of 3", "join them")
    save_file({"x": torch.zeros(2)}, path)
    check_refused(load_transformer, path, "shard 1 of 3")
    whole = tmp_path / "model-00001-of-00001.safetensors"
    save_file(stage1.state_dict(), whole, make_metadata(stage1.config))
    assert load_transformer(whole).config == stage1.config


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_prefixes_of_other_frameworks_are_dropped(tmp_path, prefix, stage1, vae):
    released = read_released(STAGE1_PT)
    torch.save({prefix + name: tensor for name, tensor in released.items()}, tmp_path / "stage1.pt")
    loaded = load_transformer(tmp_path / "stage1.pt")
    assert all(torch.equal(p, loaded.state_dict()[name]) for name, p in stage1.state_dict().items())
    ours = {prefix + name: tensor for name, tensor in vae.state_dict().items()}
    save_file(ours, tmp_path / "vae.safetensors", make_metadata(vae.config))
    again = load_vae(tmp_path / "vae.safetensors")
    assert all(torch.equal(p, again.state_dict()[name]) for name, p in vae.state_dict().items())


@pytest.mark.parametrize("load", [load_transformer, open_weights, describe_file], ids=lambda load: load.__name__)
@pytest.mark.parametrize("change", [{"layers": 10**9}, {"blocks": 10**9}])
def test_a_config_of_more_layers_than_tensors_is_refused_at_once(tmp_path, load, change, stage1, vae):
    model = stage1 if "layers" in change else vae
    path = tmp_path / "huge.safetensors"
    metadata = make_metadata(model.config)
    metadata["config"] = json.dumps(json.loads(metadata["config"]) | change)
    save_file({"a": torch.zeros(1), "b": torch.zeros(1)}, path, metadata)
    check_refused(load, path, "a config of 1000000000 layers, and 2 tensors")


def test_nested_metadata_is_refused(tmp_path):
    path, deep = tmp_path / "deep.safetensors", "[" * 100_000 + "]" * 100_000
    save_file({"a": torch.zeros(1)}, path, {"config": deep})
    check_refused(load_transformer, path, "config in its metadata that cannot be read")
    save_file({"latent_tensor": torch.zeros(1, 16, 1, 2, 2)}, path, {"flashvideo_draft": deep})
    check_refused(load_draft, path, "damaged metadata")
