"""The converter: what it writes, that it streams, and that nothing half-written stays."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from support.golden import CHECKPOINTS, error

from flashvideo_core.checkpoint import load_transformer, load_vae, open_weights
from flashvideo_core.config import from_json
from flashvideo_core.convert import FORMATS, convert, quantise
from flashvideo_core.weights.reader import file_sha256

STAGE1_PT, STAGE2_PT, VAE_PT = (CHECKPOINTS / name for name in ("stage1.pt", "stage2.pt", "3d-vae.pt"))
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


# fp8


@pytest.fixture(scope="module")
def fp8(tmp_path_factory):
    target = tmp_path_factory.mktemp("fp8") / "stage1.safetensors"
    convert(STAGE1_PT, target, "fp8")
    return target


def test_fp8_takes_the_weights_of_linear_layers_only(fp8, stage1):
    linear = {name for name, module in stage1.named_modules() if isinstance(module, torch.nn.Linear)}
    written = load_file(fp8)
    for name in stage1.state_dict():
        in_fp8 = name.removesuffix(".weight") in linear
        assert written[name].dtype == (torch.float8_e4m3fn if in_fp8 else torch.bfloat16), name
    extra = {f"{layer}.{kind}" for layer in linear for kind in ("weight_scale", "comfy_quant")}
    assert written.keys() == stage1.state_dict().keys() | extra


def test_fp8_scales_and_tags(fp8, stage1):
    """One float32 scale for each layer, amax / 448, and the tag that ComfyUI reads."""
    written = load_file(fp8)
    for name, value in stage1.state_dict().items():
        layer = name.removesuffix(".weight")
        if f"{layer}.weight_scale" in written and name.endswith(".weight"):
            scale = written[f"{layer}.weight_scale"]
            assert scale.shape == ()
            assert scale.dtype == torch.float32
            assert float(scale) == pytest.approx(float(value.abs().max()) / 448)
            assert float(written[name].float().abs().max()) == 448
            assert json.loads(bytes(written[f"{layer}.comfy_quant"].tolist())) == {"format": "float8_e4m3fn"}


def test_fp8_loads_near_the_original(fp8, stage1):
    """e4m3 keeps three bits behind the leading one: each weight within 1/16, or half the smallest step."""
    loaded = load_transformer(fp8).state_dict()
    scales = load_file(fp8)
    for name, value in stage1.state_dict().items():
        scale = scales.get(f"{name}_scale")
        if scale is None:
            assert torch.equal(loaded[name], value.bfloat16().float())
        else:
            assert ((loaded[name] - value).abs() <= value.abs() / 16 + scale * 2**-10 + 1e-6).all()
    x, txt = torch.randn(1, 16, 2, 4, 6), torch.randn(1, 5, 32)
    difference = error(load_transformer(fp8)(x, torch.tensor([500.0]), txt), stage1(x, torch.tensor([500.0]), txt))
    assert 1e-4 < difference < 0.3


def test_fp8_stays_as_it_is_when_converted_again(tmp_path, fp8):
    again = tmp_path / "again.safetensors"
    for dtype in ("stored", "fp8"):
        convert(fp8, again, dtype)
        written = load_file(again)
        assert written.keys() == load_file(fp8).keys()
        for name, value in load_file(fp8).items():
            assert written[name].dtype == value.dtype
            assert torch.equal(written[name].float(), value.float()), name
    convert(fp8, again, "float32")
    for name, value in load_transformer(fp8).state_dict().items():
        assert torch.equal(load_file(again)[name], value)


def test_quantise_of_zeros_and_extremes():
    weight, scale = quantise(torch.zeros(4, 4))
    assert scale == 1
    assert not weight.float().any()
    weight, scale = quantise(torch.tensor([[-3e30, 1.0], [3e30, 0.0]]))
    assert torch.equal(weight.float(), torch.tensor([[-448.0, 0.0], [448.0, 0.0]]))


def test_fp8_is_for_transformers(tmp_path):
    with pytest.raises(ValueError, match="fp8 is for"):
        convert(VAE_PT, tmp_path / "vae.safetensors", "fp8")


# the file appears whole or not at all


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


# streaming

MEASURE = """
import re, sys, threading
import torch
from flashvideo_core.convert import convert

def private():
    return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024

torch.set_num_threads(1)
convert(sys.argv[1], sys.argv[2], sys.argv[4])  # a small file first: libraries and pools are in memory then
base, peak, done = private(), [0], threading.Event()

def watch():
    while not done.wait(0.004):
        peak[0] = max(peak[0], private())

thread = threading.Thread(target=watch)
thread.start()
convert(sys.argv[3], sys.argv[2], sys.argv[4])
done.set()
thread.join()
sys.stdout.write(str(peak[0] - base))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measures memory by /proc")
@pytest.mark.parametrize("dtype", ["float32", "fp8"])
def test_memory_is_that_of_a_few_tensors(tmp_path, dtype):
    """A stage 1 of 130 MB in bf16, its largest weight 9 MB in float32, converts within 80 MB of its own.

    Loading it whole would take 260 MB. Only private memory counts: the source is mapped, and the written
    pages belong to the system. glibc is told to return what is freed, as it does with the real, larger tensors.
    """
    large = resize_to_target(tmp_path / "large.pt")
    assert large.stat().st_size > 120e6
    command = [sys.executable, "-c", MEASURE, str(STAGE1_PT), str(tmp_path / "out.safetensors"), str(large), dtype]
    repository = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(repository), "MALLOC_MMAP_THRESHOLD_": "1000000"}
    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 80e6
    summary = open_weights(tmp_path / "out.safetensors")
    assert summary.config.hidden == 768


def resize_to_target(path: Path) -> Path:
    """The golden stage 1 in a larger size: hidden 768, 8 layers, LoRA rank 16, zeros as weights."""
    small = torch.load(STAGE1_PT, weights_only=True)["module"]
    wide = {128: 768, 256: 1536, 384: 2304, 512: 3072, 1536: 9216, 4: 16}
    large = {}
    for name, value in small.items():
        shape = [wide.get(n, n) for n in value.shape] if value.shape[-1:] != (2,) else [768, 16, 2, 2]
        names = [name]
        if ".layers.1." in name or "list.1." in name or "modulations.1." in name:
            names = [name.replace(".1.", f".{i}.", 1) for i in range(1, 8)]
        large |= {n: torch.zeros(shape, dtype=torch.bfloat16) for n in names}
    torch.save({"module": large}, path)
    return path
