"""What training takes into account about the device that it runs on."""

import torch
from torch import nn

from ..attention import attention, plain_attention
from ..device import computes_bf16
from ..types import AttentionFn


def get_device(model: nn.Module) -> torch.device:
    """The device of the model's first parameter."""
    return next(model.parameters()).device


def is_bf16_fast(device_type: str) -> bool:
    """Whether a device type ("cpu", "cuda", "mps", ...) multiplies bf16 at least as fast as float32.

    CUDA cards with units for it do; CPUs with AVX-512 or AMX do. Others emulate it: an AVX2 CPU was 200 times slower
    (measured, torch 2.13.0).
    """
    if device_type == "cpu":
        return torch.backends.cpu.get_cpu_capability().startswith(("AVX512", "AMX"))
    return device_type == "cuda" and computes_bf16(torch.device(device_type))


def choose_training_attention(device_type: str) -> AttentionFn:
    """By its formula on a CPU, where short sequences train quicker so; torch's fused kernels elsewhere."""
    return plain_attention if device_type == "cpu" else attention
