"""Files in fp8 stay in fp8 where a pipeline is loaded: the same bits as made whole at once, in half the memory."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.cli_run import ROOT, read_events, run
from support.weight_files import STAGE1_PT, STAGE2_PT
from torch import nn

from flashvideo_core.checkpoint import load_transformer, make_metadata, open_weights
from flashvideo_core.components import TINY, load_pipeline
from flashvideo_core.config import STAGE1, STAGE2
from flashvideo_core.config import VAE as RELEASED_VAE
from flashvideo_core.convert import convert, quantise
from flashvideo_core.dit import Transformer
from flashvideo_core.fp8 import Fp8Linear, has_fp8, keep_all_fp8
from flashvideo_core.memory import plan_branches, plan_run, transformer_peak
from flashvideo_core.memory.run import weight_bytes
from flashvideo_core.meta_trace import StorageTracer
from flashvideo_core.phases import sample_draft
from flashvideo_core.settings import DraftSettings
from flashvideo_core.training.finetune import load_trainable
from flashvideo_core.training.options import resolve_options
from flashvideo_core.training.prepare import WeightFiles


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The golden stages in fp8."""
    folder = tmp_path_factory.mktemp("fp8")
    paths = [folder / f"stage{stage}.safetensors" for stage in (1, 2)]
    for source, path in zip((STAGE1_PT, STAGE2_PT), paths, strict=True):
        convert(source, path, "fp8")
    return paths


def evaluate(network: nn.Module, dtype: torch.dtype) -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    x, txt = (torch.randn(*shape, generator=g).to(dtype) for shape in ((1, 16, 2, 4, 6), (1, 10, 32)))
    with torch.no_grad():
        return network(x, torch.tensor([500.0]), txt, 675)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_same_bits_as_weights_made_whole(files, dtype):
    for path in files:
        kept, whole = (load_transformer(path, dtype=dtype, stay_fp8=stay) for stay in (True, False))
        assert torch.equal(evaluate(kept, dtype), evaluate(whole, dtype))
        assert {type(layer) for layer in whole.modules()}.isdisjoint({Fp8Linear})
        linear = [layer for layer in kept.modules() if isinstance(layer, nn.Linear | Fp8Linear)]
        assert linear and all(layer.weight.dtype == torch.float8_e4m3fn for layer in linear)
        assert kept.patch_embed.weight.dtype == kept.blocks[0].qkv.bias.dtype == dtype


def test_e5m2_stays_and_another_scaled_dtype_is_made_whole(files, tmp_path):
    """A layer in e5m2 as ComfyUI reads it; one with a scale beside a weight in bf16."""
    tensors = load_file(files[1])
    name, other = "blocks.0.qkv.weight", "blocks.1.qkv.weight"
    tensors[name] = tensors[name].float().to(torch.float8_e5m2)
    tensors[other] = tensors[other].to(torch.bfloat16)
    config = load_transformer(files[1]).config
    save_file(tensors, tmp_path / "mixed.safetensors", make_metadata(config))
    kept, whole = (load_transformer(tmp_path / "mixed.safetensors", stay_fp8=stay) for stay in (True, False))
    assert kept.blocks[0].qkv.weight.dtype == torch.float8_e5m2
    assert type(kept.blocks[1].qkv) is nn.Linear
    assert torch.equal(evaluate(kept, torch.float32), evaluate(whole, torch.float32))


def test_a_weight_is_as_it_was_after_its_layer_was_at_work():
    """Also in a dtype of its own, where it would be no copy."""
    weight, scale = quantise(torch.randn(4, 8))
    layer, x = Fp8Linear(weight, float(scale), None).to(torch.bfloat16), torch.randn(1, 8, dtype=torch.bfloat16)
    assert torch.equal(layer(x), layer(x))


def test_a_draft_with_a_file_in_fp8(tmp_path):
    """Through the pipeline, with the embedded stage 1: as from weights made whole, and near its own."""
    convert(TINY / "stage1.safetensors", tmp_path / "stage1.safetensors", "fp8")
    others = {"vae": TINY / "vae.safetensors", "text": TINY / "text.safetensors", "device": "cpu"}
    pipe = load_pipeline(stage1=tmp_path / "stage1.safetensors", **others)
    assert has_fp8(pipe.stage1)
    whole = replace(pipe, stage1=load_transformer(tmp_path / "stage1.safetensors"))
    settings = DraftSettings.from_defaults(pipe.stage1.config.defaults, frames=9, size=(64, 96), steps=4)
    prompt = "a large red circle moves left over a white background"
    latent = sample_draft(pipe, prompt, settings)[0]
    assert torch.equal(latent, sample_draft(whole, prompt, settings)[0])
    own = sample_draft(load_pipeline(stage1=TINY / "stage1.safetensors", **others), prompt, settings)[0]
    assert 0.001 < (latent - own).square().mean().sqrt() / own.square().mean().sqrt() < 0.2


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_training_makes_the_weights_whole(files, mode):
    """What is trained moves by less than fp8 can say, and a LoRA is trained beside weights in the run's dtype."""
    weights = WeightFiles({"stage1": files[0]}, {}, torch.device("cpu"), torch.float32)
    options = resolve_options(open_weights(files[0]).config, mode=mode, rank=2)
    model = load_trainable(options, weights)
    assert not has_fp8(model) and all(p.dtype == torch.float32 for p in model.parameters())


def test_the_weights_take_half(files):
    kept, whole = (load_transformer(files[0], dtype=torch.bfloat16, stay_fp8=stay) for stay in (True, False))
    bytes_of = [sum(p.nbytes for p in network.parameters()) for network in (kept, whole)]
    assert bytes_of[0] < 0.53 * bytes_of[1]
    for fp8, found in zip((True, False), bytes_of, strict=True):
        assert weight_bytes(Transformer, kept.config, torch.bfloat16, fp8) == found


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_plan_of_an_evaluation_in_fp8(dtype):
    """Few tokens, so that a weight made whole counts for much; tensors that live at once, measured."""
    config = replace(STAGE2, layers=2, hidden=512, time_dim=64, text_dim=32, text_length=32)
    network = Transformer(config).to(dtype)
    keep_all_fp8(network)
    x, txt = torch.randn(1, 16, 1, 8, 8, dtype=dtype), torch.randn(1, 32, 32, dtype=dtype)
    with StorageTracer(*network.parameters(), x, txt) as tracer:
        network(x, torch.tensor([500.0]), txt, 675)
    planned = transformer_peak(config, 1, (1, 8, 8), dtype.itemsize, fp8=True)
    assert 0.95 * tracer.peak <= planned <= 1.25 * tracer.peak
    assert planned > transformer_peak(config, 1, (1, 8, 8), dtype.itemsize) + 4 * config.hidden**2 * dtype.itemsize / 2


def test_the_released_stage_1_in_fp8_fits_a_card_of_12_gb():
    """49x256x480 in bf16: 5.6 GB instead of 11.1 of weights, and both branches at once beside them."""
    plans = [
        plan_run(
            {"stage1": STAGE1, "stage2": STAGE2, "vae": RELEASED_VAE},
            (49, 256, 480),
            (1072, 1920),
            torch.bfloat16,
            torch.device("cuda"),
            12 * 10**9,
            fp8,
        )[0]
        for fp8 in ((), ("stage1",))
    ]
    assert plans[0].weights == pytest.approx(11.14e9, rel=0.01) and plans[1].weights == pytest.approx(5.58e9, rel=0.01)
    assert plans[1].branches == plan_branches(STAGE1, (13, 32, 60), 2, 12 * 10**9 - plans[1].weights, True) == 2
    assert plans[1].work < 0.8e9  # at its peak in attention, where no weight is at work


def test_info_plans_a_file_in_fp8(files, capsys):
    options = ["info", "--plan", "--json", "--device", "cpu", "--dtype", "bf16", "--stage2", files[1]]
    code, out, err = run(capsys, *options)
    assert code == 0, err
    phases = {phase["phase"]: phase for phase in read_events(out)[-1]["plan"]["phases"]}
    network = load_transformer(files[1], dtype=torch.bfloat16, stay_fp8=True)
    assert phases["stage2"]["weights"] == sum(p.nbytes for p in network.parameters())


MEASURE = """
import re, sys, threading
import torch
from flashvideo_core.checkpoint import load_transformer

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024

@torch.no_grad()
def work(path, stay):
    network = load_transformer(path, dtype=torch.bfloat16, stay_fp8=stay)
    c = network.config
    x, txt = torch.zeros(1, 16, 1, 4, 4).bfloat16(), torch.zeros(1, 4, c.text_dim).bfloat16()
    network(x, torch.tensor([500.0]), txt)

torch.set_num_threads(1)
work(sys.argv[1], True)  # a small file first: libraries and pools are in memory then
base, peak, done = resident(), [0], threading.Event()

def watch():
    while not done.wait(0.002):
        peak[0] = max(peak[0], resident())

thread = threading.Thread(target=watch)
thread.start()
work(sys.argv[2], sys.argv[3] == "True")
done.set()
thread.join()
sys.stdout.write(str(peak[0] - base))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measures memory by /proc")
def test_measured_memory_of_loading_and_an_evaluation(files, tmp_path):
    """A stage 1 of 100 million weights, 200 MB in bf16 and 100 in fp8, beside an evaluation of a few tokens.

    All that is resident counts, pages of the mapped file too.
    """
    config = replace(STAGE1, layers=8, hidden=1024, time_dim=64, text_dim=32)
    with torch.device("meta"):
        shapes = {name: p.shape for name, p in Transformer(config).state_dict().items()}
    zeros = {name: torch.zeros(shape, dtype=torch.bfloat16) for name, shape in shapes.items()}
    save_file(zeros, tmp_path / "a.safetensors", make_metadata(config))
    convert(tmp_path / "a.safetensors", tmp_path / "b.safetensors", "fp8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MALLOC_MMAP_THRESHOLD_": "1000000"}
    peaks = {}
    for stay in (True, False):
        command = [sys.executable, "-c", MEASURE, str(files[0]), str(tmp_path / "b.safetensors"), str(stay)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        peaks[stay] = int(done.stdout)
    whole, kept = (weight_bytes(Transformer, config, torch.bfloat16, fp8) for fp8 in (False, True))
    assert peaks[False] > 0.9 * whole
    assert 0.9 * kept < peaks[True] < kept + 60e6 and peaks[True] < 0.75 * peaks[False], peaks
