"""The bench: counted operations against torch's counter, equal weights and inputs for all, what it says and refuses."""

import json

import pytest
import torch
from cli_run import run
from comfy_server import AVAILABLE, REASON
from golden import ONE_PASS
from torch.utils.flop_counter import FlopCounterMode

from flashvideo_core.attention import plain_attention
from flashvideo_core.bench.compare import bench, relative
from flashvideo_core.bench.operations import decode_operations, encode_operations, transformer_operations
from flashvideo_core.bench.peers import runner
from flashvideo_core.bench.sizes import SIZES, build_network, make_inputs

TINY = SIZES["tiny"]


def counted(call) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


@pytest.mark.parametrize("part", ["vae-decode", "vae-encode"])
@pytest.mark.parametrize("t", [1, 3, 5])
def test_operations_of_the_vae(part, t):
    """diffusers runs the released graph: the norm's convolutions after the resize."""
    pytest.importorskip("diffusers", reason="NO DIFFUSERS: pip install diffusers for the independent check")
    _, go, _ = runner(part, build_network(part, TINY), "diffusers")
    latent = (t, 2, 3)
    x = torch.zeros(1, 16, *latent) if part == "vae-decode" else torch.zeros(1, 3, 4 * t - 3, 16, 24)
    count = decode_operations if part == "vae-decode" else encode_operations
    assert count(TINY.vae, latent) == counted(lambda: go(x))


def test_operations_of_the_transformer():
    """By its formula, because the counter does not know the CPU's attention kernel."""
    network = build_network("dit", TINY)
    inputs = make_inputs("dit", TINY)
    assert transformer_operations(TINY.transformer, TINY.tokens) == counted(
        lambda: network(*inputs, attention=plain_attention)
    )


@pytest.mark.parametrize("part", ["vae-decode", "dit"])
def test_the_command_measures_a_peer_with_the_same_weights(capsys, part):
    pytest.importorskip("diffusers", reason="NO DIFFUSERS: pip install diffusers for the independent check")
    command = ("bench", "--part", part, "--size", "tiny", "--peer", "diffusers", "--repeats", "1", "--device", "cpu")
    code, out, _ = run(capsys, *command)
    assert code == 0
    result = json.loads(out.splitlines()[-1])
    ours, theirs = result["ours"], result["diffusers"]
    assert theirs["error"] < ONE_PASS
    assert theirs["time_ratio"] == ours["seconds"] / theirs["seconds"]
    assert theirs["peak_ratio"] == ours["peak"] / theirs["peak"]
    assert ours["gflops"] == pytest.approx(result["operations"] / ours["seconds"] / 1e9)


@pytest.mark.comfyui
@pytest.mark.skipif(not AVAILABLE, reason=REASON)
@pytest.mark.parametrize("part", ["vae-decode", "vae-encode", "dit"])
def test_comfyui_computes_the_same(part):
    result = bench(part, "tiny", ("comfyui",), repeats=1)
    assert result["comfyui"]["error"] < ONE_PASS


def test_relative_sees_a_difference():
    x = torch.zeros(1, 16, 2, 2, 2)
    x[0, 0, 0, 0, 0] = 4
    assert relative(x + 1, x) == 0.25
    assert relative(x[:, :, :1], x) is None


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"part": "vae"}, "vae is no part"),
        ({"latent": (3, 8, 9)}, "latent 3x8x9"),
        ({"part": "end-to-end", "peers": ("diffusers",)}, "end-to-end has no peers"),
        ({"size": "huge"}, "huge is no size"),
        ({"repeats": 0}, "repeats is 0"),
        ({"peers": ("comfyui",)}, "COMFYUI_PATH"),
    ],
)
def test_what_is_refused(monkeypatch, tmp_path, how, says):
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    with pytest.raises(ValueError, match=says):
        bench(**{"part": "dit", "size": "tiny", **how})


def test_a_worker_that_fails_says_why(monkeypatch, tmp_path):
    (tmp_path / "comfy").mkdir()
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    with pytest.raises(ValueError, match=r"comfyui failed: .*No module named 'comfy"):
        bench("dit", "tiny", ("comfyui",))
