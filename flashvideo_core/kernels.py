"""Which attention a run takes: the quickest of torch's fused kernels here, SageAttention, or the exact chunked one.

A fused kernel never holds the scores of all tokens at once; without one, the 104,746 tokens of a 1080p clip would
take terabytes. So a run is given one that is known to work, or stops before it begins.
"""

import importlib.util
import time
from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from .attention import HEAD_DIM, attention, chunked_attention
from .errors import InputError

ATTENTIONS = ("auto", "fused", "chunked", "sage")
KERNELS = (SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION)
SAMPLE = (1, 8, 4096, HEAD_DIM)  # of the measurement: about 10 ms with a fused kernel on any GPU
REPEATS = 3


def choose_attention(name: str, device: torch.device, dtype: torch.dtype) -> Callable:
    """The attention function (q, k, v) -> like q of a name in ATTENTIONS.

    auto: fused, or chunked where there is no fused kernel. sage: 8-bit products (SageAttention), quicker and not
    exact. Raises ValueError for what this machine cannot do.
    """
    if name not in ATTENTIONS:
        raise InputError(f"attention is {name!r}; choose one of {', '.join(ATTENTIONS)}")
    if name == "chunked":
        return chunked_attention
    if name == "sage":
        return sage_attention(device)
    if device.type == "cpu":  # torch has one fused kernel there
        return attention
    kernel = quickest_kernel(KERNELS, device, dtype)
    if kernel is not None:
        return partial(fused_attention, kernel=kernel)
    if name == "auto":
        return chunked_attention
    raise InputError(f"torch has no fused attention for {str(dtype)[6:]} on {device}; use --attention chunked")


def fused_attention(q: Tensor, k: Tensor, v: Tensor, kernel: SDPBackend) -> Tensor:
    with sdpa_kernel(kernel):
        return attention(q, k, v)


def sage_attention(device: torch.device) -> Callable:
    """SageAttention, which is imported when it is asked for."""
    if importlib.util.find_spec("sageattention") is None:
        raise InputError("--attention sage needs the package sageattention, which is not installed")
    if device.type != "cuda":
        raise InputError(f"--attention sage needs a CUDA device, not {device}")
    from sageattention import sageattn

    return partial(sageattn, tensor_layout="HND", is_causal=False)


def quickest_kernel(
    kernels: Iterable[SDPBackend], device: torch.device, dtype: torch.dtype, clock: Callable = time.perf_counter
) -> SDPBackend | None:
    """The kernel that takes the least time here, of those that run at all."""
    q = torch.randn(SAMPLE, device=device, dtype=dtype)
    times = {}
    for kernel in kernels:
        try:
            times[kernel] = min(_seconds(kernel, q, clock) for _ in range(REPEATS))
        except RuntimeError:  # torch's way to say that a kernel does not do this
            continue
    return min(times, key=times.get, default=None)


def _seconds(kernel: SDPBackend, q: Tensor, clock: Callable) -> float:
    start = clock()
    fused_attention(q, q, q, kernel).sum().item()  # which waits for the device
    return clock() - start
