"""benchmarks/seams.py: what it measures of a seam, and the ways of tiling that it compares."""

import pytest
import torch
from support.golden import ONE_PASS

from benchmarks.seam_measures import gradient_ratio, measure_seams, step_across
from benchmarks.seams import compare_seams
from benchmarks.tile_statistics import decode_and_record, decode_with_statistics, pool_moments
from flashvideo_core.bench.measure import relative_error
from flashvideo_core.bench.networks import build_network
from flashvideo_core.bench.sizes import SIZES

TINY = SIZES["tiny"]


def test_a_seam_is_a_gradient_and_a_step():
    ramp = torch.linspace(-0.5, 0.5, 64).expand(1, 3, 2, 8, 64)
    cut = ramp.clone()
    cut[..., 32:] += 0.1
    assert gradient_ratio(ramp, (32, 32)) == pytest.approx(1, abs=1e-4)
    assert gradient_ratio(cut, (32, 32)) == pytest.approx((0.1 + 1 / 63) * 63, rel=1e-4)
    assert step_across(cut - ramp, (32, 32)) == pytest.approx(0.1, rel=1e-4)
    figures = measure_seams(cut.mT, ramp.mT, [(32, 32)], [])
    assert figures["step"] == pytest.approx(12.75, rel=1e-4)
    assert figures["difference"] == pytest.approx(12.75 * 0.5**0.5, rel=1e-4)


@torch.no_grad()
def test_tiles_with_the_statistics_of_the_whole():
    vae = build_network("vae-decode", TINY)
    z = torch.randn(1, 16, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    whole, statistics = decode_and_record(vae, z)
    decode = decode_with_statistics(vae, statistics)
    assert relative_error(decode(z), whole) < ONE_PASS
    assert relative_error(decode(z[..., :4]), vae.decode(z[..., :4])) > 0.01
    x = torch.randn(2, 4, 50)
    mean, var = pool_moments(tuple((h.mean(-1), h.var(-1, correction=0)) for h in x.chunk(2, dim=-1)))
    torch.testing.assert_close((mean, var), (x.mean(-1), x.var(-1, correction=0)))


def test_every_way_of_tiling_is_compared():
    z = torch.randn(1, 16, 3, 4, 40, generator=torch.Generator().manual_seed(0))
    figures = compare_seams(build_network("vae-decode", TINY), z)
    assert list(figures) == ["hard", "tiles", "chunks", "averaged", "whole"]
    assert figures["whole"]["difference"] < figures["tiles"]["difference"]
    assert 0 < figures["chunks"]["difference"] < 1e-3
