"""The scale of a LoRA that diffusers wrote: its alphas stand in the file's metadata, not beside the matrices.

`lora_adapter_metadata` is JSON with the fields of a PEFT LoraConfig, each behind its network's name, "transformer.".
A pair is scaled by alpha / rank, or with use_rslora by alpha / sqrt(rank). alpha_pattern names layers of their own.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import InputError

KEY = "lora_adapter_metadata"


@dataclass(frozen=True)
class AdapterAlphas:
    """The numbers of a LoraConfig that make the scale. alpha_pattern: regular expression of a layer -> its alpha."""

    alpha: float
    rslora: bool = False
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)


def read_adapter_alphas(metadata: Mapping[str, str]) -> AdapterAlphas | None:
    """None where the file does not tell. Raises InputError for metadata that cannot be read."""
    if KEY not in metadata:
        return None
    try:
        found = json.loads(metadata[KEY])
        config = {
            name.rpartition(".")[2]: value for name, value in found.items() if not name.startswith("text_encoder")
        }
        if "lora_alpha" not in config:
            return None
        patterns = {name: float(value) for name, value in (config.get("alpha_pattern") or {}).items()}
        alphas = AdapterAlphas(float(config["lora_alpha"]), bool(config.get("use_rslora")), patterns)
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise InputError(f"its metadata {KEY} cannot be read") from None
    if not all(math.isfinite(value) for value in (alphas.alpha, *patterns.values())):
        raise InputError(f"its metadata {KEY} holds an alpha that is not finite")
    return alphas


def find_adapter_alpha(alphas: AdapterAlphas, layer: str, down: Tensor) -> Tensor:
    """The alpha by which alpha / rank is the scale of this layer, a tensor []. down is [rank, in]."""
    alpha = next(
        (a for key, a in alphas.alpha_pattern.items() if re.fullmatch(rf"(.*\.)?({key})", layer)), alphas.alpha
    )
    return torch.tensor(alpha * math.sqrt(down.shape[0]) if alphas.rslora else alpha)
