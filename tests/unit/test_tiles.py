"""Tiles over pictures of every shape: each split that a plan may come to can be run."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flashvideo_core.config import VAEConfig
from flashvideo_core.errors import InputError
from flashvideo_core.memory import is_tiled, tile_overlap
from flashvideo_core.memory.vae import MIN_TILE, candidate_splits
from flashvideo_core.tiling import map_tiles, split_axis
from flashvideo_core.vae import VAE

sides = st.one_of(st.integers(1, 12), st.integers(1, 40)).map(lambda n: 16 * n)


def enlarge(z):
    return z.repeat_interleave(8, dim=-2).repeat_interleave(8, dim=-1)


@settings(deadline=None, max_examples=40)
@given(sides, sides)
def test_every_split_of_a_plan_covers_the_clip(height, width):
    """As in a decode (8, 1) and an encode (1, 8), on a function for which tiles change nothing."""
    z = torch.arange(height * width // 64, dtype=torch.float32).view(1, height // 8, width // 8)
    tiles = [split for split in candidate_splits((5, height, width)) if is_tiled(split)]
    for tile in tiles:
        overlap = tile_overlap(tile)
        assert torch.allclose(map_tiles(enlarge, z, tile, overlap, (8, 1)), enlarge(z))
        shrunk = map_tiles(
            lambda frames: frames[..., ::8, ::8], enlarge(z), (8 * tile[0], 8 * tile[1]), 8 * overlap, (1, 8)
        )
        assert torch.allclose(shrunk, z)
    assert bool(tiles) == (max(height, width) // 8 > MIN_TILE)


@settings(deadline=None)
@given(st.integers(1, 200), st.integers(1, 60), st.integers(0, 20))
def test_an_axis_is_covered_by_tiles_of_one_size(size, tile, overlap):
    if overlap >= tile and tile < size:
        with pytest.raises(InputError, match=f"a tile of {tile} cannot overlap by {overlap}"):
            split_axis(size, tile, overlap)
        return
    ranges = split_axis(size, tile, overlap)
    assert (ranges[0][0], ranges[-1][1]) == (0, size)
    assert all(stop - start == min(tile, size) for start, stop in ranges)
    assert all(end - start >= overlap for (_, end), (start, _) in pairwise(ranges))


@torch.no_grad()
@pytest.mark.parametrize("size", [(16, 256), (256, 16)])
def test_a_strip_of_16_pixels_is_decoded_and_encoded_in_tiles(size):
    """In the smallest tiles, to which a plan comes where nothing fits."""
    vae = VAE(VAEConfig(channels=8, multipliers=(1, 1, 1, 1), blocks=1, groups=4)).eval()
    *_, tile = candidate_splits((5, *size))
    overlap = tile_overlap(tile)
    assert is_tiled(tile) and min(tile) == overlap == 2
    frames = map_tiles(vae.decode, torch.randn(1, 16, 2, size[0] // 8, size[1] // 8), tile, overlap, (8, 1))
    assert frames.shape == (1, 3, 5, *size) and torch.isfinite(frames).all()
    z = map_tiles(vae.encode, frames, (8 * tile[0], 8 * tile[1]), 8 * overlap, (1, 8))
    assert z.shape == (1, 16, 2, size[0] // 8, size[1] // 8) and torch.isfinite(z).all()
