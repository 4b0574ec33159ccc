"""The names of LoRA files: diffusers' CogVideoX layers (and kohya's, underscored) as a table onto ours, and our own."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError
from .lora_scale import find_adapter_alpha, read_adapter_alphas

PREFIX = "diffusion_model."
"""Of our names in a file, which ComfyUI's generic loader knows."""

MATRICES = {"lora_A": "down", "lora_down": "down", "lora_B": "up", "lora_up": "up", "alpha": "alpha"}
"""How files spell the two matrices of a pair, and its alpha."""

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
"""Of a LoRA's tensors; quantized ones would need a scale, for which there is no convention."""

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
_DOTTED = {layer.replace(".", "_"): layer for layer in DIFFUSERS_LORA}
_MAGNITUDES = ("lora_magnitude_vector", "lora_magnitude_vector.default", "dora_scale")
_UNDERSCORED = {layer.replace(".", "_"): rows for layer, rows in DIFFUSERS_LORA.items()}
_MATRIX = "|".join(MATRICES)
_DIFFUSERS_NAME = re.compile(
    rf"(?:.*[._])?transformer_blocks[._](\d+)[._](.+?)\.({_MATRIX})(?:\.default)?(?:\.weight)?"
)
_OUR_NAME = re.compile(rf"(?:{re.escape(PREFIX)})?(.+)\.(?:(?!alpha)({_MATRIX})\.weight|(alpha))")


@dataclass(frozen=True)
class LoraPair:
    """A LoRA on some rows of one of our weights: weight[start : start + rows] += up @ down * alpha / rank.

    up [rows, rank], down [rank, in]; alpha None stands for the rank.
    """

    weight: str
    start: int
    rows: int
    up: Tensor
    down: Tensor
    alpha: Tensor | None


def match_diffusers_lora(
    tensors: Mapping[str, Tensor], hidden: int, metadata: Mapping[str, str] | None = None
) -> tuple[list[LoraPair], list[str]]:
    """A LoRA with diffusers' (or kohya's underscored) CogVideoX names on our weights; and the names left over.

    metadata: of the safetensors file, where diffusers keeps alpha (lora_scale.py). Raises InputError for a matrix
    without its partner, one of another hidden size, and for DoRA, whose magnitudes are not applied here.
    """
    alphas = read_adapter_alphas(metadata or {})
    layers: dict[tuple[str, str], dict[str, Tensor]] = {}
    other_names = []
    for name in tensors:
        match = _DIFFUSERS_NAME.fullmatch(name)
        layer = match and match[2].replace(".", "_")
        if layer in _UNDERSCORED:
            layers.setdefault((match[1], layer), {})[MATRICES[match[3]]] = tensors[name]
        elif "transformer_blocks" in name and name.removesuffix(".weight").endswith(_MAGNITUDES):
            raise InputError(f"{name} makes it a DoRA, which is not supported; merge it with the tool it came from")
        else:
            other_names.append(name)
    pairs = []
    for (block, layer), matrices in layers.items():
        if alphas is not None and "alpha" not in matrices and "down" in matrices:
            matrices["alpha"] = find_adapter_alpha(
                alphas, f"transformer_blocks.{block}.{_DOTTED[layer]}", matrices["down"]
            )
        pairs += _split_rows(f"block {block}, {layer}", f"blocks.{block}", _UNDERSCORED[layer], matrices, hidden)
    return pairs, other_names


def _split_rows(
    label: str, block: str, table: tuple[tuple[str, int, int, int], ...], matrices: dict[str, Tensor], hidden: int
) -> list[LoraPair]:
    """The pairs of our layers that one of diffusers' layers is; label names it in errors."""
    _check_partners(label, matrices)
    up, total = matrices["up"], hidden * sum(rows for *_, rows in table)
    if up.shape[0] != total:
        raise InputError(f"{label}: {up.shape[0]} rows, {total} are needed")
    return [
        LoraPair(
            weight=f"{block}.{ours}.weight",
            start=start * hidden,
            rows=rows * hidden,
            up=up[source * hidden : (source + rows) * hidden],
            down=matrices["down"],
            alpha=matrices.get("alpha"),
        )
        for ours, start, source, rows in table
    ]


def match_our_lora(tensors: Mapping[str, Tensor]) -> list[LoraPair]:
    """The pairs of a file in our names. Raises InputError for another name and for a matrix without its partner."""
    layers: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        match = _OUR_NAME.fullmatch(name)
        if match is None:
            raise InputError(f"{name} is no LoRA matrix")
        layers.setdefault(match[1], {})[MATRICES[match[2] or match[3]]] = tensor
    for layer, matrices in layers.items():
        _check_partners(layer, matrices)
    return [
        LoraPair(f"{layer}.weight", 0, len(m["up"]), m["up"], m["down"], m.get("alpha")) for layer, m in layers.items()
    ]


def _check_partners(label: str, matrices: dict[str, Tensor]) -> None:
    if "up" not in matrices or "down" not in matrices:
        raise InputError(f"{label}: a LoRA matrix has no partner")
    for name, tensor in matrices.items():
        if name != "alpha" and tensor.ndim != 2:
            raise InputError(f"{label}: a LoRA matrix has the shape {list(tensor.shape)}; two axes are needed")
        if name != "alpha" and tensor.dtype not in DTYPES:
            raise InputError(f"{label}: stored as {str(tensor.dtype)[6:]}; a LoRA is float32, bf16 or fp16")
        if not torch.isfinite(tensor).all():
            raise InputError(f"{label}: it holds NaN or infinity")
