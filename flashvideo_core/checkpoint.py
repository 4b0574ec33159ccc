"""Strict reading of weights: released .pt, our safetensors, diffusers' CogVideoX VAE, a taecvx decoder.

A file is opened without reading its tensors (`open_weights`) and recognised by its names, by which each of our
parameters finds its source in the file (`match_tensors`, weights/sources.py). Loading and converting both walk that
table and read one tensor at a time (`read_tensor`), so nothing is skipped or read twice.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from .config import Config, SmallDecoderConfig, TextConfig, TransformerConfig, VAEConfig, from_json, to_json
from .dit import Transformer
from .errors import InputError, first_sentence
from .fp8 import FP8_DTYPES, keep_fp8
from .small_decoder import SmallDecoder
from .text import WordEncoder
from .vae import VAE
from .weights.file_kind import check_decoder_name, describe_shard
from .weights.identify import identify_weights
from .weights.keys import RELEASED_LORA_ALPHA, SCALE, Shapes
from .weights.lora import merge_lora, read_lora, read_student_defaults
from .weights.sources import TensorSource, match_names
from .weights.wrappers import Component, open_component

MODELS = {TransformerConfig: Transformer, VAEConfig: VAE, SmallDecoderConfig: SmallDecoder, TextConfig: WordEncoder}
MAX_PROBLEMS = 8  # that an error message names


@dataclass(frozen=True)
class Weights:
    """An opened file: its tensors by foreign name (read on access) and what it is."""

    path: Path
    tensors: Mapping[str, Tensor]
    shapes: Shapes
    metadata: dict[str, str]
    origin: str  # "released", "ours", "diffusers" or "taehv"
    config: Config


def open_weights(path: str | Path, component: Component | None = None) -> Weights:
    """Opens and recognises a file of weights. Raises InputError with one line for anything unusable.

    component: which to take from a file that ComfyUI's CheckpointSave wrote with several; None: its first.
    """
    path = Path(path)
    tensors, shapes, metadata = open_component(path, component)
    try:
        if "config" in metadata:
            origin, config = "ours", from_json(metadata["config"])
        else:
            origin, config = identify_weights(shapes)
            check_decoder_name(origin, path.name)
        check_depth(config, shapes)
    except InputError as error:
        raise InputError(f"{path} {error}{describe_shard(path)}") from None
    return Weights(path, tensors, shapes, metadata, origin, config)


def check_depth(config: Config, shapes: Shapes) -> None:
    """Raises InputError for a config of more layers than the file has tensors, before any of them is built."""
    if isinstance(config, SmallDecoderConfig):
        return
    depth = config.blocks if isinstance(config, VAEConfig) else config.layers
    if depth > len(shapes):
        raise InputError(f"has a config of {depth} layers, and {len(shapes)} tensors")


def load_transformer(
    path: str | Path,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    stay_fp8: bool = False,
    lora: str | Path | None = None,
) -> Transformer:
    """A transformer from a released .pt or our safetensors; `.config.stage` tells which stage it is.

    LoRA, the file's own and that of the file `lora`, is merged in float32, then cast to dtype; a distilled student's
    brings its sampling defaults. stay_fp8: linear layers that the file has in fp8 stay in it (fp8.py), for sampling,
    with the same results; else they are cast, too. Raises InputError for a file that is not one, for a LoRA of another
    model, and lists missing, unexpected and misshapen tensors.
    """
    weights = open_weights(path, "transformer")
    if lora is not None and isinstance(weights.config, TransformerConfig):
        weights = replace(weights, config=read_student_defaults(lora, weights.config))
    return _load_model(weights, TransformerConfig, device, dtype, stay_fp8, lora)


def load_vae(path: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> VAE:
    """The VAE from the released 3d-vae.pt, our safetensors or diffusers' keys. Raises as load_transformer."""
    return _load_model(open_weights(path, "vae"), VAEConfig, device, dtype)


def load_small_decoder(
    path: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> SmallDecoder:
    """A small decoder from a taecvx file (its encoder is left out) or our safetensors. Raises as load_transformer."""
    return _load_model(open_weights(path), SmallDecoderConfig, device, dtype)


def load_text(path: str | Path) -> tuple[WordEncoder, list[str]]:
    """The embedded text encoder (float32, CPU) and its word list, from our safetensors. Raises InputError."""
    weights = open_weights(path, "text")
    model = _load_model(weights, TextConfig, "cpu", torch.float32)
    words = weights.metadata.get("words", "").split()
    if len(words) != model.config.words:
        raise InputError(f"{path} lists {len(words)} words for a text encoder of {model.config.words}")
    return model, words


def _load_model(
    weights: Weights,
    config_type: type[Config],
    device: str | torch.device,
    dtype: torch.dtype,
    stay_fp8: bool = False,
    lora: str | Path | None = None,
) -> nn.Module:
    if not isinstance(weights.config, config_type):
        found, needed = MODELS[type(weights.config)].__name__, MODELS[config_type].__name__
        raise InputError(f"{weights.path} holds a {found}, where a {needed} is needed")
    model = build_meta_model(weights)
    sources = match_tensors(weights, model)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    pairs = {} if lora is None else read_lora(lora, weights.config, shapes)
    scales = read_fp8_scales(weights, model, sources) if stay_fp8 else {}
    scales = {layer: scale for layer, scale in scales.items() if f"{layer}.weight" not in pairs}
    keep_fp8(model, scales)
    state = {}
    for name, source in sources.items():
        in_fp8 = name.removesuffix(".weight") in scales
        tensor = weights.tensors[source.weight] if in_fp8 else read_tensor(weights, source)
        tensor = merge_lora(tensor, pairs[name]) if name in pairs else tensor
        state[name] = (tensor if in_fp8 else tensor.to(dtype)).to(device)
    model.load_state_dict(state, strict=True, assign=True)
    return model.requires_grad_(False).eval()


def build_meta_model(weights: Weights) -> nn.Module:
    """The file's model without memory for its parameters. Raises InputError for a config that cannot be built."""
    try:
        with torch.device("meta"):
            return MODELS[type(weights.config)](weights.config)
    except (TypeError, ValueError, IndexError, ZeroDivisionError, RuntimeError) as error:
        raise InputError(f"{weights.path} describes a model that cannot be built: {first_sentence(error)}") from None


def match_tensors(weights: Weights, model: nn.Module) -> dict[str, TensorSource]:
    """The source of every parameter. Raises InputError that lists what is missing, unexpected or misshapen."""
    sources, name_problems = match_names(weights.shapes, weights.origin)
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    problems = [f"missing {name}" for name in wanted if name not in sources] + name_problems
    problems += [f"unexpected {source.weight}" for name, source in sources.items() if name not in wanted]
    for name, shape in wanted.items():
        problems += sources[name].find_misfits(weights.shapes, shape) if name in sources else []
    if problems:
        listed = "; ".join(problems[:MAX_PROBLEMS])
        more = f"; and {len(problems) - MAX_PROBLEMS} more" if len(problems) > MAX_PROBLEMS else ""
        shard = describe_shard(weights.path)
        raise InputError(f"{weights.path} does not fit a {type(model).__name__}: {listed}{more}{shard}")
    return sources


def read_tensor(weights: Weights, source: TensorSource) -> Tensor:
    """A parameter as stored, or in float32 where it is dequantised or LoRA is merged into it."""
    tensor = weights.tensors[source.weight]
    if source.scale is not None:
        tensor = tensor.float() * weights.tensors[source.scale].float()
    if source.lora:
        rank = weights.shapes[source.lora[0][0]][0]
        deltas = [weights.tensors[b].float() @ weights.tensors[a].float() for a, b in source.lora]
        tensor = tensor.float() + torch.cat(deltas) * (RELEASED_LORA_ALPHA / rank)
    return tensor


def read_fp8_scales(weights: Weights, model: nn.Module, sources: Mapping[str, TensorSource]) -> dict[str, float]:
    """The linear layers that the file has in fp8, and the number by which each multiplies its weight."""
    layers = {f"{name}.weight": name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    scaled = {layers[name]: source for name, source in sources.items() if source.scale and name in layers}
    return {
        layer: weights.tensors[source.scale].float().item()
        for layer, source in scaled.items()
        if weights.tensors[source.weight].dtype in FP8_DTYPES
    }


def holds_fp8(weights: Weights) -> bool:
    return any(name.endswith(SCALE) for name in weights.shapes)


def stored_dtype(weights: Weights) -> torch.dtype:
    """The dtype of most of the weights."""
    count = Counter()
    for tensor in weights.tensors.values():
        count[tensor.dtype] += tensor.numel()
    return count.most_common(1)[0][0]


def make_metadata(config: Config, source_sha256: str | None = None) -> dict[str, str]:
    """Safetensors metadata of a file of ours."""
    extra = {"source_sha256": source_sha256} if source_sha256 else {}
    return {"format": "pt", "config": to_json(config), **extra}
