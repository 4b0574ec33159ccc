"""Which attention a run takes: the fastest of torch's fused kernels here, SageAttention, or the exact chunked one.

A fused kernel never holds the scores of all tokens at once; without one, the 104,746 tokens of a 1080p clip would
take terabytes. So a run is given one that is known to work, or stops before it begins.
"""

import importlib.util
import time
from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from .attention import attention, chunked_attention
from .config import HEAD_DIM
from .errors import InputError
from .types import AttentionFn, Clock

ATTENTIONS = ("auto", "fused", "chunked", "sage")
FUSED_KERNELS = (SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION)
TIMED_SHAPE = (1, 8, 4096, HEAD_DIM)  # about 10 ms with a fused kernel on any GPU
TIMED_RUNS = 3


def choose_attention(name: str, device: torch.device, dtype: torch.dtype) -> AttentionFn:
    """The attention function of a name in ATTENTIONS.

    auto: fused, or chunked where there is no fused kernel. sage: 8-bit products (SageAttention), faster and not
    exact. Raises InputError for what this machine cannot do.
    """
    if name not in ATTENTIONS:
        raise InputError(f"attention is {name!r}; choose one of {', '.join(ATTENTIONS)}")
    if name == "chunked":
        return chunked_attention
    if name == "sage":
        return load_sage_attention(device)
    if device.type == "cpu":  # torch has one fused kernel there
        return attention
    kernel = find_fastest_kernel(FUSED_KERNELS, device, dtype)
    if kernel is not None:
        return partial(fused_attention, kernel=kernel)
    if name == "auto":
        return chunked_attention
    raise InputError(f"torch has no fused attention for {str(dtype)[6:]} on {device}; use --attention chunked")


def fused_attention(q: Tensor, k: Tensor, v: Tensor, kernel: SDPBackend) -> Tensor:
    """attention.attention by one of torch's kernels; RuntimeError where it cannot do this."""
    with sdpa_kernel(kernel):
        return attention(q, k, v)


def load_sage_attention(device: torch.device) -> AttentionFn:
    """SageAttention, imported here only. Raises InputError where it is not installed or cannot run."""
    if importlib.util.find_spec("sageattention") is None:
        raise InputError("--attention sage needs the package sageattention, which is not installed")
    if device.type != "cuda":
        raise InputError(f"--attention sage needs a CUDA device, not {device}")
    from sageattention import sageattn

    return partial(sageattn, tensor_layout="HND", is_causal=False)


def find_fastest_kernel(
    kernels: Iterable[SDPBackend], device: torch.device, dtype: torch.dtype, clock: Clock = time.perf_counter
) -> SDPBackend | None:
    """The kernel that takes the least time on this device, of those that run at all."""
    q = torch.randn(TIMED_SHAPE, device=device, dtype=dtype)
    times = {}
    for kernel in kernels:
        try:
            times[kernel] = min(_time_kernel(kernel, q, clock) for _ in range(TIMED_RUNS))
        except RuntimeError:  # torch's way to say that a kernel does not do this
            continue
    return min(times, key=times.get, default=None)


def _time_kernel(kernel: SDPBackend, q: Tensor, clock: Clock) -> float:
    start = clock()
    fused_attention(q, q, q, kernel).sum().item()  # which waits for the device
    return clock() - start
