"""The layer names of diffusers' CogVideoX LoRA files (and kohya's, underscored), as a table onto ours."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ..errors import InputError

# A layer of diffusers' CogVideoX block -> (our layer, our first row, its first row, rows), in hidden sizes.
DIFFUSERS_LORA = {
    "attn1.to_q": (("qkv", 0, 0, 1),),
    "attn1.to_k": (("qkv", 1, 0, 1),),
    "attn1.to_v": (("qkv", 2, 0, 1),),
    "attn1.to_out.0": (("attn_out", 0, 0, 1),),
    "ff.net.0.proj": (("mlp_up", 0, 0, 4),),
    "ff.net.2": (("mlp_down", 0, 0, 1),),
    "norm1.linear": (("modulation", 0, 0, 3), ("modulation", 6, 3, 3)),  # its text half lies behind its video half
    "norm2.linear": (("modulation", 3, 0, 3), ("modulation", 9, 3, 3)),
}
LORA_SIDES = {"lora_A": "down", "lora_down": "down", "lora_B": "up", "lora_up": "up", "alpha": "alpha"}
_LORA_NAME = re.compile(
    rf"(?:.*[._])?transformer_blocks[._](\d+)[._](.+?)\.({'|'.join(LORA_SIDES)})(?:\.default)?(?:\.weight)?"
)


@dataclass(frozen=True)
class LoraPart:
    """A LoRA pair on some rows of one of our weights: weight[start : start + rows] += up @ down * alpha / rank."""

    weight: str
    start: int
    rows: int
    up: Tensor
    down: Tensor
    alpha: Tensor | None


def diffusers_lora(tensors: Mapping[str, Tensor], hidden: int) -> tuple[list[LoraPart], list[str]]:
    """A LoRA with diffusers' (or kohya's underscored) CogVideoX names on our weights; and the names left over.

    Raises ValueError for a matrix without its partner or one of another hidden size.
    """
    layers, left = {}, []
    tables = {layer.replace(".", "_"): parts for layer, parts in DIFFUSERS_LORA.items()}
    for name in tensors:
        match = _LORA_NAME.fullmatch(name)
        if match and match[2].replace(".", "_") in tables:
            layers.setdefault((match[1], match[2].replace(".", "_")), {})[LORA_SIDES[match[3]]] = tensors[name]
        else:
            left.append(name)
    out = []
    for (block, layer), sides in layers.items():
        if "up" not in sides or "down" not in sides:
            raise InputError(f"block {block}, {layer}: a LoRA matrix has no partner")
        total = hidden * sum(rows for *_, rows in tables[layer])
        if sides["up"].shape[0] != total:
            raise InputError(f"block {block}, {layer}: {sides['up'].shape[0]} rows, {total} are needed")
        for ours, start, source, rows in tables[layer]:
            up = sides["up"][source * hidden : (source + rows) * hidden]
            weight, alpha = f"blocks.{block}.{ours}.weight", sides.get("alpha")
            out.append(LoraPart(weight, start * hidden, rows * hidden, up, sides["down"], alpha))
    return out, left
