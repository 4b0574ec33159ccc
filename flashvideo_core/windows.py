"""Attention over windows: every tile of queries sees the keys of one window of the grid, and all of the text.

Opt-in for stage 2, whose attention over all tokens is nine tenths of its work at 1080p (docs/benchmarks.md). The video
tokens of a tile, all frames of some rows and columns, share their keys: all frames of a larger window around the tile,
which is shifted inward at the borders so that each query has as many (the rule of neighborhood attention, arXiv
2204.07143), and the text. The text's own queries stay dense. No mask is needed, so any attention function computes a
tile, and the memory of a tile is all that comes on top.

Units are tokens: one is 2x2 values of the latent, 16x16 pixels. Axes as in attention.py.
"""

from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from .errors import InputError
from .types import AttentionFn


@dataclass(frozen=True)
class Window:
    """Rows and columns of tokens whose keys a tile sees, at least 1 each; an axis that is shorter is seen whole."""

    height: int
    width: int

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 1:
            raise InputError(f"the window is {self.height}x{self.width}; it needs at least 1x1 tokens")

    def __str__(self) -> str:
        return f"{self.height}x{self.width}"


@dataclass(frozen=True)
class Grid:
    """The tokens of a sequence: `text` of the text, then t * h * w of the video in that order."""

    t: int
    h: int
    w: int
    text: int

    @classmethod
    def of(cls, x: Tensor, txt: Tensor, patch: int) -> "Grid":
        """Of a latent x [B, 16, T, H, W] in patches of so many rows and columns, and text [B, l, text_dim]."""
        return cls(x.shape[2], x.shape[3] // patch, x.shape[4] // patch, txt.shape[1])

    @property
    def tokens(self) -> int:
        return self.text + self.t * self.h * self.w


@dataclass(frozen=True)
class Tile:
    """Positions in the sequence: the queries of a tile, and the keys that all of them see (None: every key)."""

    queries: Tensor
    keys: Tensor | None


def bind_window(attention: AttentionFn, grid: Grid, window: Window, device: torch.device | None = None) -> AttentionFn:
    """`attention` over windows, for sequences of the grid."""
    return partial(window_attention, attention=attention, tiles=make_tiles(grid, window, device))


def window_attention(q: Tensor, k: Tensor, v: Tensor, attention: AttentionFn, tiles: list[Tile]) -> Tensor:
    """`attention` of each tile's queries with its keys; q, k, v and the result are [B, n, L, 64].

    The result is written over q, whose queries no other tile needs, unless gradients are recorded: so this takes as
    much memory as dense attention where a window is less than half of the grid.
    """
    out = torch.empty_like(q) if q.requires_grad else q
    for tile in tiles:
        keys, values = (x if tile.keys is None else x.index_select(2, tile.keys) for x in (k, v))
        out.index_copy_(2, tile.queries, attention(q.index_select(2, tile.queries), keys, values))
    return out


def make_tiles(grid: Grid, window: Window, device: torch.device | None = None) -> list[Tile]:
    """The text, which sees everything, and the tiles of the video. Together they hold each token once as a query."""
    text = torch.arange(grid.text, device=device)
    video = torch.arange(grid.text, grid.tokens, device=device).view(grid.t, grid.h, grid.w)
    tiles = [Tile(text, None)] if grid.text else []
    for rows, seen_rows in split_axis(grid.h, window.height):
        for columns, seen_columns in split_axis(grid.w, window.width):
            keys = torch.cat([text, video[:, seen_rows, seen_columns].flatten()])
            tiles.append(Tile(video[:, rows, columns].flatten(), keys))
    return tiles


def split_axis(size: int, window: int) -> list[tuple[slice, slice]]:
    """An axis in stretches of about half a window, each with the window around it, which lies inside the axis.

    Half a window leaves every query at least a quarter of one on each side, where the axis goes on; shorter stretches
    would cost no fewer operations and gather the same keys more often.
    """
    if window >= size:
        return [(slice(0, size), slice(0, size))]
    count = -(-size // max(1, window // 2))
    return [
        (slice(a, b), place_window(a, b, window, size))
        for a, b in pairwise(size * i // count for i in range(count + 1))
    ]


def place_window(start: int, stop: int, window: int, size: int) -> slice:
    """A window in whose middle start..stop lies, shifted into 0..size."""
    first = min(max((start + stop - window) // 2, 0), size - window)
    return slice(first, first + window)
