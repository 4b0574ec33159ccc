"""Attention over windows: against dense attention, against a mask, and what it costs."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.golden import ONE_PASS, error
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from flashvideo_core.attention import attention, plain_attention, rope_rotations
from flashvideo_core.config import STAGE2
from flashvideo_core.dit import Transformer
from flashvideo_core.errors import InputError
from flashvideo_core.meta_trace import trace_memory
from flashvideo_core.sampling import sample_stage2
from flashvideo_core.windows import Grid, Window, bind_window, make_tiles, split_axis

EXACT = 1e-6
GRIDS = st.builds(Grid, st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(0, 4))
WINDOWS = st.builds(Window, st.integers(1, 10), st.integers(1, 10))
RELEASED = Grid(13, 67, 120, 226)


def make_qkv(grid: Grid, batch: int = 1) -> tuple[Tensor, ...]:
    g = torch.Generator().manual_seed(grid.tokens)
    return tuple(torch.randn(batch, 2, grid.tokens, 64, generator=g) for _ in range(3))


def windowed(q: Tensor, k: Tensor, v: Tensor, grid: Grid, window: Window) -> Tensor:
    """Of a copy of q, over which the result is written."""
    return bind_window(attention, grid, window)(q.clone(), k, v)


def seen_along(size: int, window: int) -> Tensor:
    """[size, size]: whether query i sees key j of an axis, by the words of windows.py."""
    if window >= size:
        return torch.ones(size, size, dtype=torch.bool)
    count, seen = -(-size // max(1, window // 2)), torch.zeros(size, size, dtype=torch.bool)
    for i in range(size):
        tile = next(n for n in range(count) if size * n // count <= i < size * (n + 1) // count)
        first, end = size * tile // count, size * (tile + 1) // count
        start = max(0, min(size - window, (first + end - window) // 2))
        seen[i, start : start + window] = True
    return seen


def make_mask(grid: Grid, window: Window) -> Tensor:
    """[L, L]: text sees everything and is seen by everything; all frames see each other."""
    rows, columns = seen_along(grid.h, window.height), seen_along(grid.w, window.width)
    mask = torch.ones(grid.tokens, grid.tokens, dtype=torch.bool)
    every = torch.ones(grid.t, grid.t, dtype=torch.bool)
    mask[grid.text :, grid.text :] = torch.kron(every, torch.kron(rows, columns))
    return mask


@settings(max_examples=25, deadline=None)
@given(GRIDS, WINDOWS)
def test_it_is_attention_with_a_mask(grid, window):
    q, k, v = make_qkv(grid)
    masked = torch.nn.functional.scaled_dot_product_attention(q, k, v, make_mask(grid, window))
    assert error(windowed(q, k, v, grid, window), masked) <= EXACT


@settings(max_examples=10, deadline=None)
@given(GRIDS, st.integers(0, 3))
def test_a_window_as_large_as_the_grid_is_dense_attention(grid, more):
    q, k, v = make_qkv(grid)
    window = Window(grid.h + more, grid.w + more)
    assert error(windowed(q, k, v, grid, window), attention(q, k, v)) <= EXACT


@given(st.integers(1, 80), st.integers(1, 60))
def test_windows_of_an_axis(size, window):
    """Each query once, its window inside the axis and of one size, and keys on both sides unless it ends there."""
    stretches = split_axis(size, window)
    assert [i for queries, _ in stretches for i in range(size)[queries]] == list(range(size))
    for queries, keys in stretches:
        assert keys.start >= 0 and keys.stop <= size and keys.stop - keys.start == min(window, size)
        margin = min(queries.start - keys.start, keys.stop - queries.stop)
        assert margin >= window // 4 or keys.start == 0 or keys.stop == size
        assert keys.start <= queries.start and queries.stop <= keys.stop


def test_the_released_size_in_tiles():
    text, *tiles = make_tiles(RELEASED, Window(24, 40))
    assert text.keys is None and len(text.queries) == 226
    assert len(tiles) == 36 and {len(tile.keys) for tile in tiles} == {226 + 13 * 24 * 40}
    queries = torch.cat([tile.queries for tile in (text, *tiles)])
    assert torch.equal(queries.sort().values, torch.arange(RELEASED.tokens))


def test_dense_attention_does_not_know_the_order_of_the_tokens(stage2):
    """A block on the tokens in the order of the tiles, their positions with them."""
    grid = Grid(3, 6, 7, 5)
    order = torch.cat([tile.queries for tile in make_tiles(grid, Window(4, 4))])
    g, block = torch.Generator().manual_seed(0), stage2.blocks[0]
    x = torch.randn(2, grid.tokens, stage2.config.hidden, generator=g)
    vec, rope = torch.randn(2, stage2.config.time_dim, generator=g), rope_rotations(3, 6, 7, text=5)
    with torch.no_grad():
        whole, ordered = block(x, 5, vec, rope, attention), block(x[:, order], 5, vec, rope[order], attention)
    assert error(ordered, whole[:, order]) <= EXACT


def test_gradients_go_through_it():
    """Nothing is overwritten where they are recorded."""
    grid, window = Grid(2, 5, 6, 3), Window(2, 4)
    q, k, v = (x.requires_grad_() for x in make_qkv(grid))
    mask = make_mask(grid, window)
    ours = torch.autograd.grad(bind_window(attention, grid, window)(q, k, v).square().sum(), (q, k, v))
    masked = torch.nn.functional.scaled_dot_product_attention(q, k, v, mask)
    for gradient, wanted in zip(ours, torch.autograd.grad(masked.square().sum(), (q, k, v)), strict=True):
        assert error(gradient, wanted) < ONE_PASS


@pytest.mark.parametrize("sides", [(0, 4), (4, 0), (-1, 4)])
def test_a_window_has_rows_and_columns(sides):
    with pytest.raises(InputError, match="it needs at least 1x1 tokens"):
        Window(*sides)


def sample(dit: Transformer, seen: list[int] | None = None, **options: object) -> Tensor:
    """Four evaluations of stage 2; the number of keys that the first video query of each block sees goes into seen."""
    g = torch.Generator().manual_seed(2)
    z, noise = (torch.randn(1, 16, 2, 8, 12, generator=g) for _ in range(2))
    txt = torch.randn(1, 7, dit.config.text_dim, generator=g)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if seen is not None:
            seen.append(k.shape[2])
        return attention(q, k, v)

    return sample_stage2(dit, z, txt, noise=noise, cfg=2.0, attention=attend, **options)


def test_the_first_evaluations_may_be_dense(stage2):
    seen, blocks = [], stage2.config.layers
    sample(stage2, seen, window=Window(3, 4), dense_evaluations=1)
    tokens, tiles = 7 + 2 * 4 * 6, 1 + 4 * 3
    assert seen[:blocks] == [tokens] * blocks
    assert len(seen[blocks:]) == 3 * blocks * tiles
    assert set(seen[blocks:]) == {tokens, 7 + 2 * 3 * 4}


def test_where_no_evaluation_has_windows_every_bit_is_that_of_a_run_without(stage2):
    dense = sample(stage2, steps=2)
    assert torch.equal(dense, sample(stage2, steps=2, window=Window(2, 2), dense_evaluations=2))
    assert error(sample(stage2, steps=2, window=Window(4, 6)), dense) < ONE_PASS
    assert error(sample(stage2, steps=2, window=Window(2, 3)), dense) > 1e-3


def test_a_pass_takes_no_more_memory_than_a_dense_one():
    """A block of the released size, by its own code; what a fused kernel takes is its result."""
    with torch.device("meta"):
        network = Transformer(STAGE2.__class__(**vars(STAGE2) | {"layers": 1}), dtype=torch.bfloat16)
        x, txt = (torch.empty(shape, dtype=torch.bfloat16) for shape in ((2, 16, 13, 134, 240), (2, 226, 4096)))
        timestep = torch.empty(2)
    peaks = [
        trace_memory(partial(network, x, timestep, txt, attention=attend), x, timestep, txt, *network.parameters()).peak
        for attend in (fused, bind_window(fused, RELEASED, Window(24, 40), torch.device("meta")))
    ]
    assert peaks[1] <= peaks[0]


def fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.empty_like(q)


def test_operations_of_the_released_size():
    """2.53 PFLOP in the attention of a pass, 0.31 with windows, 4.8 times fewer in the whole pass."""
    with torch.device("meta"):
        q = torch.empty(1, 1, RELEASED.tokens, 64)
    counts = []
    for attend in (plain_attention, bind_window(plain_attention, RELEASED, Window(24, 40), torch.device("meta"))):
        with FlopCounterMode(display=False) as counter:
            attend(q, q, q)
        counts.append(STAGE2.layers * STAGE2.heads * counter.get_total_flops() / 1e15)
    linear = 0.278
    assert counts == pytest.approx([2.53, 0.31], rel=0.01)
    assert (counts[0] + linear) / (counts[1] + linear) == pytest.approx(4.8, abs=0.05)
