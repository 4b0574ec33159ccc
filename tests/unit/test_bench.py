"""The bench: counted operations against torch's counter, equal weights and inputs for all, what it says and refuses."""

import json
import math

import pytest
import torch
from support.cli_run import run
from support.comfyui import AVAILABLE, REASON
from support.golden import ONE_PASS
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.peers import runner
from flashvideo_core.attention import plain_attention
from flashvideo_core.bench.compare import bench, relative
from flashvideo_core.bench.growth import draw, exponent, growth
from flashvideo_core.bench.operations import decode_operations, encode_operations, operations, transformer_operations
from flashvideo_core.bench.seams import figures, gradient_ratio, joined, norms, recorder, seams, step, with_statistics
from flashvideo_core.bench.sizes import SIZES, build_network, find_size, make_inputs, parse_latent
from flashvideo_core.memory import transformer_peak
from flashvideo_core.sampling import sample_stage1, sample_stage2

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
    go, _ = runner(part, build_network(part, TINY), "diffusers")
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


def test_operations_of_the_samplers():
    """Two branches in each evaluation."""
    noise, txt = make_inputs("stage1", TINY)
    first, second = build_network("stage1", TINY), build_network("stage2", TINY)
    how = {"steps": TINY.steps[0], "attention": plain_attention}
    assert operations("stage1", TINY) == counted(lambda: sample_stage1(first, noise, txt, **how))
    z, txt = make_inputs("stage2", TINY)
    how = {"steps": TINY.steps[1], "attention": plain_attention, "noise": torch.randn_like(z)}
    assert operations("stage2", TINY) == counted(lambda: sample_stage2(second, z, txt, **how))


def test_another_latent():
    assert find_size("vae-decode", "tiny", (1, 3, 5)).latent == (1, 3, 5)
    whole = find_size("end-to-end", "tiny", (1, 6, 8))
    assert (whole.draft, whole.tokens) == ((1, 4, 6), (1, 6, 8))
    with pytest.raises(ValueError, match="latent '5x16': write it as TxHxW"):
        parse_latent("5x16")


@pytest.mark.parametrize(("part", "latent"), [("stage2", "3x8x12"), ("end-to-end", "1x6x8")])
def test_the_command_runs_what_a_user_runs(capsys, part, latent):
    command = ("bench", "--part", part, "--size", "tiny", "--latent", latent, "--repeats", "1", "--device", "cpu")
    code, out, err = run(capsys, *command)
    assert code == 0, err
    result = json.loads(out.splitlines()[-1])
    assert result["latent"] == [int(side) for side in latent.split("x")]
    assert result["operations"] == operations(part, find_size(part, "tiny", tuple(result["latent"])))
    if part == "stage2":
        assert result["planned_peak"] == transformer_peak(TINY.stage2, 2, TINY.tokens, 4)
    assert result["plan_error"] == pytest.approx(result["planned_peak"] / result["ours"]["peak"] - 1)


def test_growth_is_measured_and_drawn(tmp_path):
    result = growth("tiny", frames=(1, 3), sides=(1, 1.5))
    assert len(result["points"]) == 3 * 2 * 2
    small, large = (transformer_operations(TINY.transformer, (t, 8, 12)) for t in (1, 3))
    assert result["exponents"]["dit"]["frames"]["operations"] == pytest.approx(math.log(large / small) / math.log(9))
    assert all(point["seconds"] > 0 for point in result["points"])
    draw(tmp_path / "growth.png", result)
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


def test_exponent():
    assert exponent([(x, 3 * x**1.5) for x in (1, 2, 5, 9)]) == pytest.approx(1.5)
    assert exponent([(1, 2), (2, None)]) is None


def test_a_seam_is_a_gradient_and_a_step():
    ramp = torch.linspace(-0.5, 0.5, 64).expand(1, 3, 2, 8, 64)
    cut = ramp.clone()
    cut[..., 32:] += 0.1
    assert gradient_ratio(ramp, (32, 32)) == pytest.approx(1, abs=1e-4)
    assert gradient_ratio(cut, (32, 32)) == pytest.approx((0.1 + 1 / 63) * 63, rel=1e-4)
    assert step(cut - ramp, (32, 32)) == pytest.approx(0.1, rel=1e-4)
    found = figures(cut.mT, ramp.mT, [(32, 32)], [])
    assert found["step"] == pytest.approx(12.75, rel=1e-4)
    assert found["difference"] == pytest.approx(12.75 * 0.5**0.5, rel=1e-4)


@torch.no_grad()
def test_tiles_with_the_statistics_of_the_whole():
    vae, statistics = build_network("vae-decode", TINY), {}
    z = torch.randn(1, 16, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    with norms(vae, recorder(statistics)):
        whole = vae.decode(z)
    assert relative(with_statistics(vae, statistics)(z), whole) < ONE_PASS
    assert relative(with_statistics(vae, statistics)(z[..., :4]), vae.decode(z[..., :4])) > 0.01
    x = torch.randn(2, 4, 50)
    mean, var = joined(tuple((h.mean(-1), h.var(-1, correction=0)) for h in x.chunk(2, dim=-1)))
    torch.testing.assert_close((mean, var), (x.mean(-1), x.var(-1, correction=0)))


def test_every_way_of_tiling_is_compared():
    z = torch.randn(1, 16, 3, 4, 40, generator=torch.Generator().manual_seed(0))
    found = seams(build_network("vae-decode", TINY), z)
    assert list(found) == ["hard", "tiles", "parts", "twice", "shared"]
    assert found["shared"]["difference"] < found["tiles"]["difference"]
    assert 0 < found["parts"]["difference"] < 1e-3


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
