"""LoRA files on a transformer's weights: weight[start : start + rows] += up @ down * alpha / rank.

Read are ours, in the names that ComfyUI's generic loader knows (diffusion_model.<layer>.lora_A.weight, .lora_B.weight,
.alpha; or lora_down, lora_up), and diffusers' CogVideoX names (lora_keys.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ..config import TransformerConfig
from ..errors import InputError
from .keys import Shapes
from .lora_keys import LoraPair, match_diffusers_lora, match_our_lora
from .reader import open_file


def read_lora(path: str | Path, config: TransformerConfig, shapes: Shapes) -> dict[str, list[LoraPair]]:
    """The pairs of a LoRA file by our weight names. shapes are the model's, by parameter name.

    Raises InputError for a file that holds anything else than a LoRA of this model.
    """
    file = open_file(Path(path))
    try:
        pairs = match_lora(file.tensors, config.hidden, file.metadata)
        for pair in pairs:
            _check_fit(pair, shapes)
    except InputError as error:
        raise InputError(f"{path} is no LoRA for this stage {config.stage}: {error}") from None
    by_weight: dict[str, list[LoraPair]] = {}
    for pair in pairs:
        by_weight.setdefault(pair.weight, []).append(pair)
    return by_weight


def read_student_defaults(path: str | Path, config: TransformerConfig) -> TransformerConfig:
    """The config with the evaluations that a distilled LoRA (training/distill.py) is for, and without guidance; that of
    any other LoRA is the same. Raises InputError for a number that is none."""
    evaluations = open_file(Path(path)).metadata.get("evaluations")
    if evaluations is None:
        return config
    if not (evaluations.isascii() and evaluations.isdigit() and 0 < int(evaluations[:9]) <= 1000):
        raise InputError(f"{path} names {evaluations!r} evaluations; a student has 1 to 1000")
    return replace(config, defaults=replace(config.defaults, steps=int(evaluations), cfg=1.0))


def match_lora(tensors: Mapping[str, Tensor], hidden: int, metadata: Mapping[str, str] | None = None) -> list[LoraPair]:
    """The pairs of tensors in either naming. Raises InputError for other tensors, and where there is no pair."""
    pairs, other_names = match_diffusers_lora(tensors, hidden, metadata)
    pairs += match_our_lora({name: tensors[name] for name in other_names})
    if not pairs:
        raise InputError("it holds no LoRA matrix")
    return pairs


def _check_fit(pair: LoraPair, shapes: Shapes) -> None:
    wanted = shapes.get(pair.weight)
    if wanted is None:
        raise InputError(f"the model has no {pair.weight}")
    up, down = tuple(pair.up.shape), tuple(pair.down.shape)
    fits = len(up) == len(down) == len(wanted) == 2 and up[1] == down[0] and down[1] == wanted[1]
    if not fits or pair.start + up[0] > wanted[0]:
        raise InputError(f"{pair.weight} is {list(wanted)}, its LoRA {list(up)} by {list(down)}")


def merge_lora(weight: Tensor, pairs: Sequence[LoraPair], strength: float = 1.0) -> Tensor:
    """The weight with the LoRA added, computed and returned in float32. Works on tensors without memory too."""
    out = weight.to(torch.float32, copy=True)
    for pair in pairs:
        rank = pair.down.shape[0]
        scale = strength * (1.0 if pair.alpha is None else float(pair.alpha) / rank)
        up, down = (matrix.to(out.device, torch.float32) for matrix in (pair.up, pair.down))
        out[pair.start : pair.start + pair.rows] += scale * (up @ down)
    return out
