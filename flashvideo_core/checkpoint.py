"""Strict, safe reading of weights: released .pt, our safetensors, diffusers' CogVideoX VAE.

A file is opened without reading its tensors (`open_weights`), recognised by its names (`describe`) and
turned into a table of recipes (`keys.py`), one for each of our parameters. Loading and converting both
walk that table, so nothing is skipped or read twice, and nothing in a pickle is ever executed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from . import keys
from .config import STAGE1, STAGE2, TextConfig, TransformerConfig, VAEConfig, from_json
from .config import VAE as RELEASED_VAE
from .dit import Transformer
from .vae import VAE


@dataclass(frozen=True)
class Weights:
    """An opened file: its tensors by foreign name (read on access) and what it is."""

    path: Path
    tensors: Mapping[str, Tensor]
    shapes: dict[str, tuple[int, ...]]
    metadata: dict[str, str]
    origin: str  # "released", "ours" or "diffusers"
    config: TransformerConfig | VAEConfig | TextConfig


class _LazySafetensors(Mapping):
    def __init__(self, path: Path):
        self.file = safe_open(path, framework="pt")
        self.names = list(self.file.keys())

    def __getitem__(self, name: str) -> Tensor:
        return self.file.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def open_weights(path: str | Path) -> Weights:
    """Opens and recognises a file of weights. Raises ValueError with one line for anything unusable."""
    path = Path(path)
    tensors, metadata = _open(path)
    shapes = {name: _shape(tensors, name) for name in tensors}
    if "config" in metadata:
        return Weights(path, tensors, shapes, metadata, "ours", from_json(metadata["config"]))
    origin, config = describe(shapes, path)
    return Weights(path, tensors, shapes, metadata, origin, config)


def describe(shapes: dict[str, tuple[int, ...]], path: Path) -> tuple[str, TransformerConfig | VAEConfig]:
    """Origin and config, read from names and shapes alone."""
    if any(name.startswith(keys.RELEASED_PREFIX) for name in shapes):
        return "released", _released_transformer({_strip(name): shape for name, shape in shapes.items()}, path)
    if "encoder.down.0.block.0.conv1.conv.weight" in shapes:
        return "released", _vae_config(shapes, "encoder.down.{}.block.{}.conv1.conv.weight")
    if "encoder.down_blocks.0.resnets.0.conv1.conv.weight" in shapes:
        return "diffusers", _vae_config(shapes, "encoder.down_blocks.{}.resnets.{}.conv1.conv.weight")
    raise ValueError(
        f"{path} holds no FlashVideo transformer and no CogVideoX VAE ({len(shapes)} tensors of something else)"
    )


def load_transformer(path: str | Path, device="cpu", dtype: torch.dtype = torch.float32) -> Transformer:
    """A transformer from a released .pt or our safetensors; `.config.stage` tells which stage it is.

    LoRA is merged in float32, then cast to dtype. Raises ValueError for a file that is not one, and lists
    missing, unexpected and misshapen tensors.
    """
    return _load(open_weights(path), Transformer, TransformerConfig, device, dtype)


def load_vae(path: str | Path, device="cpu", dtype: torch.dtype = torch.float32) -> VAE:
    """The VAE from the released 3d-vae.pt, our safetensors or diffusers' keys. Raises as load_transformer."""
    return _load(open_weights(path), VAE, VAEConfig, device, dtype)


def _load(weights: Weights, cls: type, config_cls: type, device, dtype: torch.dtype):
    if not isinstance(weights.config, config_cls):
        raise ValueError(f"{weights.path} holds {type(weights.config).__name__}, not {config_cls.__name__}")
    with torch.device("meta"):
        model = cls(weights.config)
    recipes = plan(weights, model)
    state = {name: build(weights, recipe).to(device, dtype) for name, recipe in recipes.items()}
    model.load_state_dict(state, strict=True, assign=True)
    return model.requires_grad_(False).eval()


def plan(weights: Weights, model: torch.nn.Module) -> dict[str, "keys.Recipe"]:
    """A recipe for every parameter of the model; ValueError lists what is missing, unexpected or misshapen."""
    recipes = keys.recipes(weights.shapes, weights.origin, weights.config)
    wanted = {name: tuple(p.shape) for name, p in model.state_dict().items()}
    problems = [f"missing {name}" for name in wanted if name not in recipes]
    problems += [f"unexpected {recipe.weight}" for name, recipe in recipes.items() if name not in wanted]
    for name, recipe in recipes.items():
        if name in wanted:
            problems += recipe.misshapen(weights.shapes, wanted[name])
    if problems:
        shown = "; ".join(problems[:12]) + (f"; and {len(problems) - 12} more" if len(problems) > 12 else "")
        raise ValueError(f"{weights.path} does not fit its {type(model).__name__}: {shown}")
    return recipes


def build(weights: Weights, recipe: "keys.Recipe") -> Tensor:
    """The tensor of a recipe: stored as it is, dequantised or LoRA-merged in float32."""
    tensor = weights.tensors[recipe.weight]
    if recipe.scale is not None:
        tensor = tensor.float() * weights.tensors[recipe.scale].float()
    if recipe.lora:
        deltas = [weights.tensors[b].float() @ weights.tensors[a].float() for a, b in recipe.lora]
        tensor = tensor.float() + torch.cat(deltas) * (keys.RELEASED_LORA_ALPHA / weights.shapes[recipe.lora[0][0]][0])
    return tensor


def stored_dtype(weights: Weights) -> torch.dtype:
    """The dtype of most of the weights."""
    first = next(name for name in weights.shapes if len(weights.shapes[name]) > 1)
    return weights.tensors[first].dtype


def _open(path: Path) -> tuple[Mapping[str, Tensor], dict[str, str]]:
    if not path.is_file():
        raise ValueError(f"{path} is not a file")
    with path.open("rb") as file:
        head = file.read(9)
    if not head:
        raise ValueError(f"{path} is empty")
    if head[8:9] == b"{":
        return _open_safetensors(path)
    if head[:2] == b"PK":
        return _open_pt(path), {}
    raise ValueError(f"{path} is neither safetensors nor a torch checkpoint")


def _open_safetensors(path: Path) -> tuple[Mapping[str, Tensor], dict[str, str]]:
    try:
        tensors = _LazySafetensors(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a whole safetensors file: {error}") from None
    return tensors, tensors.file.metadata() or {}


def _open_pt(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch raises many types here; each means that the file is not plain weights
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if "weights_only" in str(error) or "Unsupported" in str(error):
            reason = "it carries code or objects, which are never executed"
        raise ValueError(f"{path} cannot be read as weights: {reason}") from None
    for outer in ("module", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(outer), dict):
            content = content[outer]
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a table of tensors")
    return {name: value for name, value in content.items() if isinstance(value, Tensor)}


def _shape(tensors: Mapping[str, Tensor], name: str) -> tuple[int, ...]:
    if isinstance(tensors, _LazySafetensors):
        return tuple(tensors.file.get_slice(name).get_shape())
    return tuple(tensors[name].shape)


def _strip(name: str) -> str:
    return name.removeprefix(keys.RELEASED_PREFIX).replace(".original.", ".")


def _count(shapes, pattern: str) -> int:
    count = 0
    while pattern.format(count) in shapes:
        count += 1
    return count


def _released_transformer(shapes: dict[str, tuple[int, ...]], path: Path) -> TransformerConfig:
    preset = STAGE2 if "ref_step_time_embedding.0.weight" in shapes else STAGE1
    try:
        return replace(
            preset,
            layers=_count(shapes, "transformer.layers.{}.input_layernorm.weight"),
            hidden=shapes["mixins.patch_embed.proj.weight"][0],
            time_dim=shapes["time_embed.0.weight"][0],
            text_dim=shapes["mixins.patch_embed.text_proj.weight"][1],
        )
    except KeyError as error:
        raise ValueError(f"{path} does not fit a FlashVideo transformer: missing {error.args[0]}") from None


def _vae_config(shapes: dict[str, tuple[int, ...]], pattern: str) -> VAEConfig:
    widths = [shapes[pattern.format(level, 0)][0] for level in range(4) if pattern.format(level, 0) in shapes]
    channels = shapes["encoder.conv_in.conv.weight"][0]
    return replace(
        RELEASED_VAE,
        channels=channels,
        multipliers=tuple(width // channels for width in widths),
        blocks=_count(shapes, pattern.replace("{}", "0", 1)),
    )


def metadata_for(config, source_sha256: str | None = None) -> dict[str, str]:
    """Safetensors metadata of a file of ours."""
    from .config import to_json

    extra = {"source_sha256": source_sha256} if source_sha256 else {}
    return {"format": "pt", "config": to_json(config), **extra}
