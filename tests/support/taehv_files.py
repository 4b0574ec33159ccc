"""A decoder in TAEHV's layout (github.com/madebyollin/taehv): random weights, and what they compute.

Written from the layout alone, layer by layer over the whole clip, in the order in which the file numbers them.
"""

from collections.abc import Mapping
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

MEMORY = (3, 4, 5, 9, 10, 11, 15, 16, 17)  # layers that see the frame before
ENLARGE = (6, 12, 18)
GROW = {7: 1, 13: 2, 19: 2}  # frames that the layer makes of one


def make_taehv(widths: tuple[int, ...] = (256, 128, 64, 64), channels: int = 16, seed: int = 0) -> dict[str, Tensor]:
    """The tensors of a file: the decoder, and the first of its encoder, which nobody reads here."""
    generator = torch.Generator().manual_seed(seed)

    def draw(rows: int, columns: int, side: int = 3) -> Tensor:
        shape = (rows, columns, side, side)
        return torch.randn(shape, generator=generator) * (1.5 / (columns * side * side)) ** 0.5

    tensors = {"encoder.0.weight": draw(64, 3), "encoder.0.bias": torch.zeros(64)}
    tensors |= {
        "decoder.1.weight": draw(widths[0], channels),
        "decoder.1.bias": torch.randn(widths[0], generator=generator) / 9,
    }
    for level, (width, after) in enumerate(pairwise(widths)):
        first = 3 + 6 * level
        for layer in range(first, first + 3):
            for conv, columns in ((0, 2 * width), (2, width), (4, width)):
                tensors[f"decoder.{layer}.conv.{conv}.weight"] = draw(width, columns)
                tensors[f"decoder.{layer}.conv.{conv}.bias"] = torch.randn(width, generator=generator) / 9
        tensors[f"decoder.{first + 4}.conv.weight"] = draw(GROW[first + 4] * width, width, 1)
        tensors[f"decoder.{first + 5}.weight"] = draw(after, width)
    return tensors | {"decoder.22.weight": draw(3, widths[3]), "decoder.22.bias": torch.full((3,), 0.5)}


def decode_taehv(tensors: Mapping[str, Tensor], z: Tensor) -> Tensor:
    """Latent [16, T, h, w] -> frames [3, 4T-3, 8h, 8w] in 0..1: of the first four only the last is kept.

    Every layer sees the whole clip before the next begins.
    """
    x = z.transpose(0, 1)
    for layer in range(23):
        named = {name: tensors.get(f"decoder.{layer}.{name}") for name in ("weight", "bias", "conv.weight")}
        if layer == 0:
            x = torch.tanh(x / 3) * 3
        elif layer in MEMORY:
            x = remember(tensors, layer, x)
        elif layer in ENLARGE:
            x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        elif layer in GROW:
            x = F.conv2d(x, named["conv.weight"])
            x = x.reshape(len(x) * GROW[layer], -1, *x.shape[2:])
        elif named["weight"] is None:
            x = F.relu(x)
        else:
            x = F.conv2d(x, named["weight"], named["bias"], padding=1)
    return x[3:].clamp(0, 1).transpose(0, 1)


def remember(tensors: Mapping[str, Tensor], layer: int, x: Tensor) -> Tensor:
    """A memory block: three convolutions of each frame and the one before it, added to the frame."""
    h = torch.cat([x, torch.cat([torch.zeros_like(x[:1]), x[:-1]])], dim=1)
    for conv in (0, 2, 4):
        weight, bias = (tensors[f"decoder.{layer}.conv.{conv}.{name}"] for name in ("weight", "bias"))
        h = F.conv2d(h if conv == 0 else F.relu(h), weight, bias, padding=1)
    return F.relu(h + x)
