"""LoRA files on a transformer's weights: weight[start : start + rows] += up @ down * alpha / rank.

Read are ours, in the names that ComfyUI's generic loader knows (diffusion_model.<layer>.lora_A.weight, .lora_B.weight,
.alpha; or lora_down, lora_up), and diffusers' CogVideoX names (keys.py).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..config import TransformerConfig
from ..errors import InputError
from .lora_keys import LORA_SIDES, LoraPart, diffusers_lora
from .reader import open_file

PREFIX = "diffusion_model."
ENDINGS = {f".{name}" if side == "alpha" else f".{name}.weight": side for name, side in LORA_SIDES.items()}


def read_lora(path: str | Path, config: TransformerConfig, shapes: Mapping[str, tuple]) -> dict[str, list[LoraPart]]:
    """What a LoRA file adds, by our weight names. shapes are the model's, by parameter name.

    Raises ValueError for a file that holds anything else than a LoRA of this model.
    """
    tensors = dict(open_file(Path(path))[0])
    try:
        parts, left = diffusers_lora(tensors, config.hidden)
        parts += named_parts({name: tensors[name] for name in left})
        for part in parts:
            check_fits(part, shapes)
    except ValueError as error:
        raise InputError(f"{path} is no LoRA for this stage {config.stage}: {error}") from None
    out: dict[str, list[LoraPart]] = {}
    for part in parts:
        out.setdefault(part.weight, []).append(part)
    if not out:
        raise InputError(f"{path} is no LoRA for this stage {config.stage}: it holds no LoRA matrix")
    return out


def named_parts(tensors: Mapping[str, Tensor]) -> list[LoraPart]:
    """The pairs of a file in our names. Raises ValueError for another name and for a matrix without its partner."""
    layers: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        ending = next((ending for ending in ENDINGS if name.endswith(ending)), None)
        if ending is None:
            raise InputError(f"{name} is no LoRA matrix")
        layers.setdefault(name.removesuffix(ending).removeprefix(PREFIX), {})[ENDINGS[ending]] = tensor
    for layer, sides in layers.items():
        if "up" not in sides or "down" not in sides:
            raise InputError(f"{layer}: a LoRA matrix has no partner")
    return [
        LoraPart(f"{layer}.weight", 0, len(sides["up"]), sides["up"], sides["down"], sides.get("alpha"))
        for layer, sides in layers.items()
    ]


def check_fits(part: LoraPart, shapes: Mapping[str, tuple]) -> None:
    wanted = shapes.get(part.weight)
    if wanted is None:
        raise InputError(f"the model has no {part.weight}")
    up, down = tuple(part.up.shape), tuple(part.down.shape)
    fits = len(up) == len(down) == len(wanted) == 2 and up[1] == down[0] and down[1] == wanted[1]
    if not fits or part.start + up[0] > wanted[0]:
        raise InputError(f"{part.weight} is {list(wanted)}, its LoRA {list(up)} by {list(down)}")


def merged(weight: Tensor, parts: Sequence[LoraPart], strength: float = 1.0) -> Tensor:
    """The weight with the LoRA added, computed and returned in float32. Works on tensors without memory too."""
    out = weight.to(torch.float32, copy=True)
    for part in parts:
        rank = part.down.shape[0]
        scale = strength * (1.0 if part.alpha is None else float(part.alpha) / rank)
        up, down = (matrix.to(out.device, torch.float32) for matrix in (part.up, part.down))
        out[part.start : part.start + part.rows] += scale * (up @ down)
    return out
