"""A network in training as CUDA graphs: the GPU computes a small one in a fraction of the time that its kernels take to
be launched (a step of the embedded stage 1 on an H200: 11 ms of 51)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class _Pass(nn.Module):
    """One use of a network with tensors of fixed shapes: torch's capture takes a module, and changes its `forward`."""

    def __init__(self, network: nn.Module, run: Callable[..., Any]):
        super().__init__()
        self.network, self.run = network, run

    def forward(self, *inputs: Tensor) -> Any:
        return self.run(*inputs)


def capture_network(network: nn.Module, run: Callable[..., Any]) -> Callable[..., Any]:
    """run(*tensors), forward and backward, captured when shapes come for the first time and replayed from then on.

    network: what run trains; its parameters must stay where they are in memory. run takes CUDA tensors without
    gradients and returns tensors, in a list or tuple if several; what it reads besides is as it was when captured.
    Results and gradients lie in the graph's memory, where the next call with the same shapes overwrites them: a step
    that adds up the gradients of several calls is no use for it.
    """
    captured: dict[tuple, _Pass] = {}

    def replay(*inputs: Tensor) -> Any:
        key = tuple((x.shape, x.dtype) for x in inputs)
        if key not in captured:
            captured[key] = _capture(_Pass(network, run), inputs)
        return captured[key](*inputs)

    return replay


def _capture(network: nn.Module, inputs: tuple[Tensor, ...]) -> nn.Module:
    """Under the caller's autocast, without its cache: cached casts of weights would be those of the capture."""
    dtype, enabled = torch.get_autocast_dtype("cuda"), torch.is_autocast_enabled("cuda")
    with torch.autocast("cuda", dtype=dtype, enabled=enabled, cache_enabled=False):
        return torch.cuda.make_graphed_callables(network, tuple(x.clone() for x in inputs), allow_unused_input=True)
