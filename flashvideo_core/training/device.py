"""What training takes into account about the device that it runs on."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..attention import attention, plain_attention
from ..device import computes_bf16
from ..dit import Transformer
from ..types import AttentionFn
from .distributed import World
from .graphs import capture_network


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


def trains_captured(world: World) -> bool:
    """Whether networks train as CUDA graphs: where one process trains on CUDA."""
    return world.kind == "cuda" and world.size == 1


def prepare_network(network: nn.Module, run: Callable[..., Any], world: World) -> Callable[..., Any]:
    """run, which trains the network, as it is quickest."""
    return capture_network(network, run) if trains_captured(world) else run


def prepare_transformer(model: Transformer, world: World) -> Callable[..., Tensor]:
    """model(x, timestep, txt, ref_step) in training; alone on CUDA its blocks are compiled, one for all of them.

    The noise step [B] is a tensor then, or a graph would keep the first one.
    """
    run = partial(model, attention=choose_training_attention(world.kind))
    if not trains_captured(world):
        return run
    for block in model.blocks:
        block.compile(dynamic=False)
    captured = capture_network(model, run)

    def call(x: Tensor, timestep: Tensor, txt: Tensor, ref_step: int | None = None) -> Tensor:
        return captured(x, timestep, txt, *(() if ref_step is None else (torch.full_like(timestep, ref_step),)))

    return call
