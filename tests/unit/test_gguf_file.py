"""GGUF: what is packed and how exactly, the config that comes back, and files that cannot be used."""

import sys

import pytest
import torch
from support.weight_files import STAGE2_PT, VAE_PT, check_refused

from flashvideo_core.checkpoint import load_transformer, open_weights
from flashvideo_core.cli.describe import describe_file
from flashvideo_core.convert import convert
from flashvideo_core.media.draft_file import load_draft
from flashvideo_core.weights.gguf_file import BLOCK, FORMATS, is_packed

gguf = pytest.importorskip("gguf", reason="NO GGUF: the package gguf is missing")

STEPS = {"q8_0": 127, "q5_0": 16, "q4_0": 8}  # of the format between zero and the largest value of a block
HALF = 2**-10  # the scale of a block is a float16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("gguf")


@pytest.mark.parametrize("kind", FORMATS)
def test_blocks_are_as_exact_as_their_format_and_the_rest_is_exact(folder, kind, stage2):
    path = folder / f"stage2-{kind}.gguf"
    summary = convert(STAGE2_PT, path, kind)
    assert summary["bytes"] == path.stat().st_size
    loaded = load_transformer(path)
    assert loaded.config == stage2.config
    assert describe_file(path)["dtype"] == kind
    packed = 0
    for name, wanted in stage2.state_dict().items():
        found = loaded.state_dict()[name]
        if not is_packed(name, wanted):
            assert torch.equal(found, wanted), name
            continue
        packed += 1
        largest = wanted.unflatten(-1, (-1, BLOCK)).abs().amax(-1, keepdim=True)
        error = (found - wanted).unflatten(-1, (-1, BLOCK)).abs()
        assert (error <= largest * (1 / STEPS[kind] + HALF)).all(), name
    assert packed == 5 * stage2.config.layers


def test_what_is_unpacked_again_is_the_same_and_packs_to_the_same(folder, tmp_path):
    packed, plain, again = folder / "stage2.gguf", tmp_path / "plain.safetensors", tmp_path / "again.gguf"
    convert(STAGE2_PT, packed, "q8_0")
    convert(packed, plain)
    convert(plain, again, "q8_0")
    one, other, third = (load_transformer(path).state_dict() for path in (packed, plain, again))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert all(torch.allclose(one[name], third[name], rtol=1e-3, atol=1e-6) for name in one)


def test_the_target_has_the_name_of_its_format(tmp_path):
    for name, kind in (("a.safetensors", "q8_0"), ("a.gguf", "bf16")):
        check_refused(lambda path, kind=kind: convert(STAGE2_PT, path, kind), tmp_path / name, "must end in")
    check_refused(lambda path: convert(path, tmp_path / "vae.gguf", "q8_0"), VAE_PT, "is no transformer")


@pytest.mark.parametrize("part", [0.00002, 0.001, 0.01, 0.5, 0.999])
def test_a_truncated_file(folder, tmp_path, part):
    whole, path = folder / "whole.gguf", tmp_path / "cut.gguf"
    convert(STAGE2_PT, whole, "q8_0")
    data = whole.read_bytes()
    path.write_bytes(data[: max(9, int(len(data) * part))])
    check_refused(open_weights, path, "cut off or damaged")


def test_it_is_no_draft(folder):
    path = folder / "stage2.gguf"
    convert(STAGE2_PT, path, "q8_0")
    check_refused(load_draft, path, "is a GGUF file, where a safetensors file is needed")


def test_without_the_package(folder, monkeypatch):
    path = folder / "stage2.gguf"
    convert(STAGE2_PT, path, "q8_0")
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ValueError, match=r"GGUF files are read with gguf, which is not installed"):
        load_transformer(path)
    with pytest.raises(ValueError, match=r"GGUF files are written with gguf, which is not installed"):
        convert(STAGE2_PT, folder / "new.gguf", "q8_0")
    assert not (folder / "new.gguf").exists()
