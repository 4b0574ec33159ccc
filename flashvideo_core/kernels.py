"""Which attention a run takes: one of torch's fused kernels by rank, SageAttention, or the exact chunked one.

A fused kernel never holds the scores of all tokens at once; without one, the 104,746 tokens of a 1080p clip would
take terabytes. So a run is given one that is known to work, or stops before it begins. No clock decides: the same
machine takes the same kernel each time, and the record of a clip names it.
"""

import importlib.util
from functools import partial

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from .attention import attention, chunked_attention
from .config import HEAD_DIM
from .errors import InputError
from .types import AttentionFn

ATTENTIONS = ("auto", "fused", "chunked", "sage")
FUSED_KERNELS = {  # from quick to slow on an H200 (docs/benchmarks.md)
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
}
CUDNN_FIRST = (9, 10)  # compute capabilities, Hopper and Blackwell
TORCH = "torch"  # the kernel that torch has for a CPU
PROBED_SHAPE = (1, 8, 4096, HEAD_DIM)


def choose_attention(name: str, device: torch.device, dtype: torch.dtype) -> AttentionFn:
    """The attention function of a name in ATTENTIONS. Raises InputError for what this machine cannot do."""
    return load_kernel(choose_kernel(name, device, dtype), device)


def choose_kernel(name: str, device: torch.device, dtype: torch.dtype, earlier: str | None = None) -> str:
    """The kernel that a name in ATTENTIONS stands for on this machine: "torch", "chunked", "sage", or a fused one.

    auto: the first fused one by rank that works, or chunked where none does. sage: 8-bit products (SageAttention),
    faster and not exact. earlier: the kernel of a run that is repeated, which is taken where it works. Raises
    InputError for what this machine cannot do.
    """
    if name not in ATTENTIONS:
        raise InputError(f"attention is {name!r}; choose one of {', '.join(ATTENTIONS)}")
    if name == "sage":
        check_sage_attention(device)
    if name in ("chunked", "sage"):
        return name
    if name == "auto" and earlier == "chunked":
        return earlier
    if device.type == "cpu":
        return TORCH
    ranked = ([earlier] if earlier in FUSED_KERNELS else []) + rank_kernels(device)
    for kernel in ranked:
        if runs_here(FUSED_KERNELS[kernel], device, dtype):
            return kernel
    if name == "auto":
        return "chunked"
    raise InputError(f"torch has no fused attention for {str(dtype)[6:]} on {device}; use --attention chunked")


def rank_kernels(device: torch.device) -> list[str]:
    """The fused kernels, the one to prefer first: cuDNN's on the cards where torch prefers it, too, else flash.

    Source: check_prefer_cudnn_attention in pytorch/aten/src/ATen/native/transformers/cuda/sdp_utils.cpp.
    """
    is_first = device.type != "cuda" or torch.cuda.get_device_capability(device)[0] in CUDNN_FIRST
    return list(FUSED_KERNELS) if is_first else ["flash", "cudnn", "efficient"]


def load_kernel(kernel: str, device: torch.device) -> AttentionFn:
    """The function of a kernel that `choose_kernel` named."""
    if kernel == "sage":
        return load_sage_attention(device)
    if kernel in FUSED_KERNELS:
        return partial(fused_attention, kernel=FUSED_KERNELS[kernel])
    return {"chunked": chunked_attention, TORCH: attention}[kernel]


def fused_attention(q: Tensor, k: Tensor, v: Tensor, kernel: SDPBackend) -> Tensor:
    """attention.attention by one of torch's kernels; RuntimeError where it cannot do this."""
    with sdpa_kernel(kernel):
        return attention(q, k, v)


def check_sage_attention(device: torch.device) -> None:
    """Raises InputError where SageAttention is not installed or cannot run."""
    if importlib.util.find_spec("sageattention") is None:
        raise InputError("--attention sage needs the package sageattention, which is not installed")
    if device.type != "cuda":
        raise InputError(f"--attention sage needs a CUDA device, not {device}")


def load_sage_attention(device: torch.device) -> AttentionFn:
    """SageAttention, imported here only. Raises InputError as check_sage_attention."""
    check_sage_attention(device)
    from sageattention import sageattn

    return partial(sageattn, tensor_layout="HND", is_causal=False)


def runs_here(kernel: SDPBackend, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether one of torch's kernels does this on the device, tried with a few thousand tokens."""
    q = torch.ones(PROBED_SHAPE, device=device, dtype=dtype)
    try:
        fused_attention(q, q, q, kernel).sum().item()  # which waits for the device
    except RuntimeError:  # torch's way to say that a kernel does not do this
        return False
    return True
