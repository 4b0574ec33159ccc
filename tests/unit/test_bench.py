"""The bench: equal weights and inputs for all implementations, what it reports and what it refuses."""

import json
import os
import subprocess
import sys

import pytest
import torch
from support.cli_run import ROOT, run
from support.golden import ONE_PASS

from flashvideo_core.bench.measure import bench, relative_error
from flashvideo_core.bench.memory import RETURN_FREED_BLOCKS
from flashvideo_core.bench.operations import count_operations
from flashvideo_core.bench.process import BenchJob
from flashvideo_core.bench.sizes import SIZES, find_size, parse_latent
from flashvideo_core.memory import transformer_peak

TINY = SIZES["tiny"]


def test_another_latent():
    assert find_size("vae-decode", "tiny", (1, 3, 5)).vae_latent == (1, 3, 5)
    clip = find_size("end-to-end", "tiny", (1, 6, 8))
    assert (clip.draft_latent, clip.clip_latent) == ((1, 4, 6), (1, 6, 8))
    with pytest.raises(ValueError, match="latent '5x16': write it as TxHxW"):
        parse_latent("5x16")


@pytest.mark.parametrize(("workload", "latent"), [("stage2", "3x16x24"), ("end-to-end", "1x6x8")])
def test_the_command_runs_what_a_user_runs(capsys, workload, latent):
    command = ("bench", "--part", workload, "--size", "tiny", "--latent", latent, "--repeats", "1", "--device", "cpu")
    code, out, err = run(capsys, *command)
    assert code == 0, err
    result = json.loads(out.splitlines()[-1])
    assert result["latent"] == [int(side) for side in latent.split("x")]
    assert result["operations"] == count_operations(workload, find_size(workload, "tiny", tuple(result["latent"])))
    if workload == "stage2":
        assert result["planned_peak"] == transformer_peak(TINY.stage2, 2, (3, 16, 24), 4)
    assert result["plan_error"] == pytest.approx(result["planned_peak"] / result["ours"]["peak"] - 1)


@pytest.mark.parametrize(("workload", "latent"), [("vae-decode", "3x4x6"), ("dit", "3x32x48")])
def test_the_command_measures_a_peer_with_the_same_weights(capsys, workload, latent):
    """At latents whose memory is seen: what fits in blocks that are free already measures as nothing."""
    pytest.importorskip("diffusers", reason="NO DIFFUSERS: pip install diffusers for the independent check")
    command = ("bench", "--part", workload, "--size", "tiny", "--latent", latent, "--peer", "diffusers")
    code, out, _ = run(capsys, *command, "--repeats", "1", "--device", "cpu")
    assert code == 0
    result = json.loads(out.splitlines()[-1])
    ours, theirs = result["ours"], result["diffusers"]
    assert theirs["error"] < ONE_PASS
    assert theirs["time_ratio"] == ours["seconds"] / theirs["seconds"]
    assert theirs["peak_ratio"] == ours["peak"] / theirs["peak"]
    assert ours["gflops"] == pytest.approx(result["operations"] / ours["seconds"] / 1e9)


@pytest.mark.comfyui
@pytest.mark.parametrize("workload", ["vae-decode", "vae-encode", "dit"])
def test_comfyui_computes_the_same(workload):
    result = bench(BenchJob(workload, "tiny"), ("comfyui",), repeats=1)
    assert result["comfyui"]["error"] < ONE_PASS


PEAK = """
import time, torch
from flashvideo_core.bench.memory import peak_bytes

def take_memory():
    held = torch.ones(16 << 20)
    time.sleep(0.05)
    return held.sum()

print(peak_bytes(take_memory, torch.device("cpu")))
"""


def test_the_peak_is_that_of_the_call():
    """64 MB for a while, of which nothing is left; in a process as the bench starts it, which has no freed blocks."""
    environment = os.environ | RETURN_FREED_BLOCKS
    done = subprocess.run([sys.executable, "-c", PEAK], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == pytest.approx(64 << 20, rel=0.05)


def test_relative_error_sees_a_difference():
    x = torch.zeros(1, 16, 2, 2, 2)
    x[0, 0, 0, 0, 0] = 4
    assert relative_error(x + 1, x) == 0.25
    assert relative_error(x[:, :, :1], x) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workload": "vae"}, "vae is no part"),
        ({"latent": (3, 8, 9)}, "latent 3x8x9"),
        ({"workload": "end-to-end", "peers": ("diffusers",)}, "end-to-end has no peers"),
        (
            {"workload": "vae-decode", "peers": ("windows",)},
            "windows are of attention: they are measured in the part dit",
        ),
        ({"size_name": "huge"}, "huge is no size"),
        ({"repeats": 0}, "repeats is 0"),
        ({"peers": ("comfyui",)}, "COMFYUI_PATH"),
    ],
)
def test_what_is_refused(monkeypatch, tmp_path, options, message):
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    bench_options = {name: options.pop(name) for name in ("peers", "repeats") if name in options}
    with pytest.raises(ValueError, match=message):
        bench(BenchJob(**{"workload": "dit", "size_name": "tiny", **options}), **bench_options)


def test_peers_need_a_checkout(monkeypatch, tmp_path):
    monkeypatch.setattr("flashvideo_core.bench.measure.PEERS", tmp_path / "peers.py")
    with pytest.raises(ValueError, match=r"from a checkout of the repository, which has benchmarks/peers\.py"):
        bench(BenchJob("dit", "tiny"), ("diffusers",))


def test_a_worker_that_fails_says_why(monkeypatch, tmp_path):
    (tmp_path / "comfy").mkdir()
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    with pytest.raises(ValueError, match=r"comfyui failed: .*No module named 'comfy"):
        bench(BenchJob("dit", "tiny"), ("comfyui",))
