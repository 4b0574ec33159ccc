"""Linear layers whose weights stay in 8 bits, one number of the layer beside them.

A weight is made whole in the dtype of the input when its layer is at work, and let go: half the memory of bf16 at the
same products. ComfyUI does the same where it has no 8-bit products (QuantizedTensor in its comfy_kitchen), but rounds
the scale to the dtype of the input first, which in bf16 moves a whole layer by up to 0.4 %; here the result is bit for
bit that of weights which were made whole when they were loaded.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FP8_DTYPES = (torch.float8_e4m3fn, torch.float8_e5m2)


class Fp8Linear(nn.Module):
    """x -> x (scale weight)^T + bias, with the weight [out, in] in one of FP8_DTYPES."""

    def __init__(self, weight: Tensor, scale: float, bias: Tensor | None):
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self.scale = scale  # a number, since a tensor of one on a card would be rounded to the weight's dtype

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype, copy=True).mul_(self.scale), self.bias)


def keep_fp8(model: nn.Module, scales: Mapping[str, float], dtype: torch.dtype = torch.float8_e4m3fn) -> None:
    """Puts an Fp8Linear in the place of each linear layer that scales names; the shape of its weight stays."""
    for name, scale in scales.items():
        layer = model.get_submodule(name)
        parent, _, child = name.rpartition(".")
        weight = torch.empty_like(layer.weight, dtype=dtype)
        setattr(model.get_submodule(parent), child, Fp8Linear(weight, scale, layer.bias))


def keep_all_fp8(model: nn.Module) -> None:
    """`keep_fp8` of every linear layer, to count with."""
    keep_fp8(model, {name: 1.0 for name, layer in model.named_modules() if isinstance(layer, nn.Linear)})


def has_fp8(model: nn.Module) -> bool:
    return any(isinstance(layer, Fp8Linear) for layer in model.modules())
