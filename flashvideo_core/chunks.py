"""A sequence in chunks of a few tokens, so that what a layer takes beside its result does not grow with the clip.

Only attention needs all tokens at once. Where gradients are recorded every intermediate is kept anyway, so `chunk` is
None there: the sequence is one chunk, and nothing is written in place.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn


def map_chunks(fn: Callable[[Tensor, slice], tuple[Tensor, ...]], x: Tensor, chunk: int | None) -> tuple[Tensor, ...]:
    """The tensors of fn for all tokens of x [B, L, d], `chunk` tokens at a time.

    fn(x[:, i], i) takes some tokens and their slice; its tensors have these tokens in their last axis but one.
    """
    length, out = x.shape[1], ()
    for tokens, i in split_tokens(x, chunk):
        results = fn(tokens, i)
        if tokens.shape[1] == length:
            return results
        out = out or tuple(y.new_empty(*y.shape[:-2], length, y.shape[-1]) for y in results)
        for whole, y in zip(out, results, strict=True):
            whole[..., i, :] = y
    return out


def update_chunks(fn: Callable[[Tensor, slice], Tensor], x: Tensor, chunk: int | None) -> Tensor:
    """fn(x[:, i], i), shaped like x[:, i], for all tokens of x [B, L, d]: in x itself, unless chunk is None."""
    if chunk is None:
        return fn(x, slice(0, x.shape[1]))
    for tokens, i in split_tokens(x, chunk):
        tokens.copy_(fn(tokens, i))
    return x


def split_tokens(x: Tensor, chunk: int | None) -> Iterator[tuple[Tensor, slice]]:
    """Views of x [B, L, d] with at most `chunk` tokens each, and where they are; None: all of them."""
    start = 0
    for tokens in x.split(chunk or x.shape[1], dim=1):
        yield tokens, slice(start, start + tokens.shape[1])
        start += tokens.shape[1]


def records_gradients(network: nn.Module, *inputs: Tensor) -> bool:
    """Whether autograd will keep what a call of the network computes."""
    return torch.is_grad_enabled() and any(x.requires_grad for x in (*inputs, *network.parameters()))
