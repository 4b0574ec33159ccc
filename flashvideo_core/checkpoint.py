"""Strict reading of weights: released .pt, our safetensors, diffusers' CogVideoX VAE.

A file is opened without reading its tensors (`open_weights`), recognised by its names and turned into a
table of recipes (`keys.py`), one for each of our parameters (`plan`). Loading and converting both walk that
table and make one tensor at a time (`build`), so nothing is skipped or read twice.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from .config import TextConfig, TransformerConfig, VAEConfig, from_json, to_json
from .dit import Transformer
from .errors import InputError, first_sentence
from .text import WordEncoder
from .vae import VAE
from .weights import keys
from .weights.reader import open_file

MODELS = {TransformerConfig: Transformer, VAEConfig: VAE, TextConfig: WordEncoder}
LISTED = 8  # problems that an error message names


@dataclass(frozen=True)
class Weights:
    """An opened file: its tensors by foreign name (read on access) and what it is."""

    path: Path
    tensors: Mapping[str, Tensor]
    shapes: dict[str, tuple[int, ...]]
    metadata: dict[str, str]
    origin: str  # "released", "ours" or "diffusers"
    config: TransformerConfig | VAEConfig | TextConfig


def open_weights(path: str | Path) -> Weights:
    """Opens and recognises a file of weights. Raises ValueError with one line for anything unusable."""
    path = Path(path)
    tensors, shapes, metadata = open_file(path)
    try:
        if "config" in metadata:
            origin, config = "ours", from_json(metadata["config"])
        else:
            origin, config = keys.describe(shapes)
    except ValueError as error:
        raise InputError(f"{path} {error}") from None
    return Weights(path, tensors, shapes, metadata, origin, config)


def load_transformer(path: str | Path, device="cpu", dtype: torch.dtype = torch.float32) -> Transformer:
    """A transformer from a released .pt or our safetensors; `.config.stage` tells which stage it is.

    LoRA is merged in float32, then cast to dtype. Raises ValueError for a file that is not one, and lists
    missing, unexpected and misshapen tensors.
    """
    return _load(open_weights(path), TransformerConfig, device, dtype)


def load_vae(path: str | Path, device="cpu", dtype: torch.dtype = torch.float32) -> VAE:
    """The VAE from the released 3d-vae.pt, our safetensors or diffusers' keys. Raises as load_transformer."""
    return _load(open_weights(path), VAEConfig, device, dtype)


def load_text(path: str | Path) -> tuple[WordEncoder, list[str]]:
    """The embedded text encoder (float32, CPU) and its word list, from our safetensors. Raises ValueError."""
    weights = open_weights(path)
    model = _load(weights, TextConfig, "cpu", torch.float32)
    words = weights.metadata.get("words", "").split()
    if len(words) != model.config.words:
        raise InputError(f"{path} lists {len(words)} words for a text encoder of {model.config.words}")
    return model, words


def _load(weights: Weights, wanted: type, device, dtype: torch.dtype):
    if not isinstance(weights.config, wanted):
        kind, other = MODELS[type(weights.config)].__name__, MODELS[wanted].__name__
        raise InputError(f"{weights.path} holds a {kind}, where a {other} is needed")
    model = skeleton(weights)
    state = {name: build(weights, recipe).to(device, dtype) for name, recipe in plan(weights, model).items()}
    model.load_state_dict(state, strict=True, assign=True)
    return model.requires_grad_(False).eval()


def skeleton(weights: Weights) -> nn.Module:
    """The file's model without memory for its parameters. Raises ValueError for a config that cannot be."""
    try:
        with torch.device("meta"):
            return MODELS[type(weights.config)](weights.config)
    except (TypeError, ValueError, IndexError, ZeroDivisionError, RuntimeError) as error:
        raise InputError(f"{weights.path} describes a model that cannot be built: {first_sentence(error)}") from None


def plan(weights: Weights, model: nn.Module) -> dict[str, keys.Recipe]:
    """A recipe for every parameter of the model; ValueError lists what is missing, unexpected or misshapen."""
    recipes, problems = keys.recipes(weights.shapes, weights.origin)
    wanted = {name: tuple(p.shape) for name, p in model.state_dict().items()}
    problems = [f"missing {name}" for name in wanted if name not in recipes] + problems
    problems += [f"unexpected {recipe.weight}" for name, recipe in recipes.items() if name not in wanted]
    for name, shape in wanted.items():
        problems += recipes[name].misshapen(weights.shapes, shape) if name in recipes else []
    if problems:
        shown = "; ".join(problems[:LISTED]) + (f"; and {len(problems) - LISTED} more" if problems[LISTED:] else "")
        raise InputError(f"{weights.path} does not fit a {type(model).__name__}: {shown}")
    return recipes


def build(weights: Weights, recipe: keys.Recipe) -> Tensor:
    """The tensor of a recipe: as stored, or dequantised or LoRA-merged in float32."""
    tensor = weights.tensors[recipe.weight]
    if recipe.scale is not None:
        tensor = tensor.float() * weights.tensors[recipe.scale].float()
    if recipe.lora:
        deltas = [weights.tensors[b].float() @ weights.tensors[a].float() for a, b in recipe.lora]
        tensor = tensor.float() + torch.cat(deltas) * (keys.RELEASED_LORA_ALPHA / weights.shapes[recipe.lora[0][0]][0])
    return tensor


def stored_dtype(weights: Weights) -> torch.dtype:
    """The dtype of most of the weights."""
    count = Counter()
    for tensor in weights.tensors.values():
        count[tensor.dtype] += tensor.numel()
    return count.most_common(1)[0][0]


def metadata_for(config, source_sha256: str | None = None) -> dict[str, str]:
    """Safetensors metadata of a file of ours."""
    extra = {"source_sha256": source_sha256} if source_sha256 else {}
    return {"format": "pt", "config": to_json(config), **extra}
