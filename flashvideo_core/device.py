"""Which device and dtype a run takes, and a model's stay on the device."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from .errors import InputError, first_sentence

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(name: str | torch.device | None = None) -> torch.device:
    """The named device, or the best there is. Raises InputError for one that this machine or torch lacks."""
    if name is None:
        mps = torch.backends.mps.is_available()
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if mps else "cpu")
    try:
        device = torch.device(name)
        if device.type == "cpu" and device.index:
            raise InputError(f"device {name} cannot be used: there is one CPU, cpu")
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"device {name} cannot be used: {first_sentence(error)}") from None
    return device


def pick_dtype(device: torch.device) -> torch.dtype:
    """On CUDA bf16, as the released code runs, or fp16 where the card would only emulate it; float32 elsewhere.

    Cards before Ampere have no bf16 units, and compute fp16 many times as fast as float32; ComfyUI chooses alike
    (comfy.model_management.should_use_bf16). What overflows in fp16 is said (sampling.check_finite).
    """
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if computes_bf16(device) else torch.float16


def computes_bf16(device: torch.device) -> bool:
    """Whether a CUDA card has units for bf16, which torch would emulate otherwise."""
    with torch.cuda.device(device):
        return torch.cuda.is_bf16_supported(including_emulation=False)


@contextmanager
def on_device(model: nn.Module, device: torch.device) -> Iterator[nn.Module]:
    """The model on the device for the length of one phase: one model on the card at a time.

    The phase leaves nothing behind, the allocator's cache neither: every phase finds the same memory in each clip.
    """
    try:
        yield model.to(device)
    finally:
        if device.type != "cpu":
            model.to("cpu")
            release_cache(device)


def release_cache(device: torch.device) -> None:
    """Gives back what torch's allocator holds without using it, in pieces that a larger tensor would not fit into."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
