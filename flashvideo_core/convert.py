"""Weights of any known layout -> our safetensors, tensor by tensor.

    python -m flashvideo_core convert stage1.pt stage1.safetensors --dtype bf16 [--lora trained.safetensors]

The header is written first, from a dry run on tensors without memory; then every tensor is made, written at
its place and dropped, so the 11.8 GB of stage 1 need the memory of a few of its tensors.
"""

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor, nn

from .checkpoint import Weights, build, metadata_for, open_weights, plan, skeleton
from .config import TransformerConfig
from .errors import InputError
from .weights.atomic import atomic_write
from .weights.keys import QUANT, SCALE, Recipe
from .weights.lora import merged, read_lora
from .weights.lora_keys import LoraPart
from .weights.reader import file_sha256

FP8 = torch.float8_e4m3fn
FP8_MAX = 448.0
FORMATS = {"stored": None, "float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp8": FP8}
_CODES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    FP8: "F8_E4M3",
    torch.uint8: "U8",
}


def convert(
    source: str | Path,
    target: str | Path,
    dtype: str = "stored",
    callback: Callable | None = None,
    lora: str | Path | None = None,
    strength: float = 1.0,
) -> dict:
    """Writes source's weights to target (.safetensors) and returns a summary that JSON can hold.

    dtype: "stored" (each tensor as it is in the source), "float32", "bf16", "fp16", or "fp8": the weights of a
    transformer's linear layers in e4m3 with a scale each, everything else as stored. LoRA, the source's own and that
    of the file `lora` times `strength`, is merged in float32 before the cast. `callback("convert", step, total, None)`
    follows every tensor. The target appears whole or not at all. Raises ValueError for unusable weights, a LoRA of
    another model, an unknown dtype, and a target that cannot be written or is the source.
    """
    source, target = Path(source), Path(target)
    if dtype not in FORMATS:
        raise InputError(f"dtype is {dtype!r}; choose one of {', '.join(FORMATS)}")
    weights = open_weights(source)
    check_target(source, target)
    if dtype == "fp8" and not isinstance(weights.config, TransformerConfig):
        raise InputError(f"{source} is no transformer: fp8 is for their linear layers; use bf16 or fp16")
    model = skeleton(weights)
    recipes = plan(weights, model)
    linear = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    added = {} if lora is None else added_by(lora, weights, model, strength)

    def make(name: str, weights: Weights) -> dict[str, Tensor]:
        return stored_form(weights, name, recipes[name], FORMATS[dtype], name in linear, added.get(name, ()), strength)

    dry = replace(weights, tensors={name: tensor.to("meta") for name, tensor in weights.tensors.items()})
    outline = {part: tensor for name in recipes for part, tensor in make(name, dry).items()}
    metadata = {**weights.metadata, **metadata_for(weights.config, source_hash(source, lora, strength))}
    header, places, size = layout(outline, metadata)
    check_space(target, size)
    with opened(target) as file:
        file.write(header)
        for step, name in enumerate(recipes, 1):
            for part, tensor in make(name, weights).items():
                write(file, places[part], part, tensor)
            if callback is not None:
                callback("convert", step, len(recipes), None)
    return {
        "source": str(source),
        "target": str(target),
        "dtype": dtype,
        "config": json.loads(metadata["config"]),
        "tensors": len(outline),
        "bytes": size,
        "source_sha256": metadata["source_sha256"],
    }


def added_by(lora: str | Path, weights: Weights, model: nn.Module, strength: float) -> dict[str, list[LoraPart]]:
    """The parts of a LoRA file by our weight names. Raises ValueError."""
    if not isinstance(weights.config, TransformerConfig):
        raise InputError(f"{weights.path} is no transformer: a LoRA is for one of the two stages")
    if not math.isfinite(strength):
        raise InputError(f"the strength of the LoRA is {strength}; it must be a finite number")
    return read_lora(lora, weights.config, {name: tuple(p.shape) for name, p in model.state_dict().items()})


def source_hash(source: Path, lora: str | Path | None, strength: float) -> str:
    """What the new file is known by: the source's SHA-256, or one of all that was merged."""
    if lora is None:
        return file_sha256(source)
    return hashlib.sha256(f"{file_sha256(source)} {file_sha256(lora)} {strength!r}".encode()).hexdigest()


def stored_form(
    weights: Weights,
    name: str,
    recipe: Recipe,
    dtype: torch.dtype | None,
    linear: bool,
    added: Sequence[LoraPart] = (),
    strength: float = 1.0,
) -> dict[str, Tensor]:
    """What the new file holds for one parameter, by name: one tensor, or three for an fp8 layer."""
    stored = weights.tensors[recipe.weight]
    in_fp8 = recipe.scale is not None
    if in_fp8 and dtype in (None, FP8) and not added:
        return fp8_layer(name, stored, weights.tensors[recipe.scale].float().reshape(()))
    tensor = build(weights, recipe)
    if added:
        tensor = merged(tensor, added, strength)
    if linear and (dtype is FP8 or (in_fp8 and dtype is None)):
        return fp8_layer(name, *quantise(tensor.float()))
    return {name: tensor.to(stored.dtype if dtype in (None, FP8) else dtype)}


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A float32 weight as e4m3 and one float32 scale, the largest value at the end of e4m3's range."""
    scale = weight.abs().amax() / FP8_MAX
    scale = torch.where(scale > 0, scale, 1.0)
    return (weight / scale).clamp(-FP8_MAX, FP8_MAX).to(FP8), scale


def fp8_layer(name: str, weight: Tensor, scale: Tensor) -> dict[str, Tensor]:
    """The three tensors that ComfyUI keeps for an fp8 layer."""
    layer = name.removesuffix(".weight")
    tag = torch.tensor(list(json.dumps({"format": "float8_e4m3fn"}).encode()), dtype=torch.uint8)
    return {name: weight, layer + SCALE: scale, layer + QUANT: tag}


def layout(outline: dict[str, Tensor], metadata: dict[str, str]) -> tuple[bytes, dict[str, int], int]:
    """The safetensors header, the place of each tensor in the file, and the file's size.

    Wide elements come first, so that every tensor begins at a multiple of its element.
    """
    entries, at = {"__metadata__": metadata}, 0
    for name in sorted(outline, key=lambda n: (-outline[n].element_size(), n)):
        tensor = outline[name]
        end = at + tensor.numel() * tensor.element_size()
        if tensor.dtype not in _CODES:
            raise InputError(f"{name} is stored as {tensor.dtype}, which is no dtype of weights")
        entries[name] = {"dtype": _CODES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    start = 8 + len(text)
    places = {name: start + entries[name]["data_offsets"][0] for name in outline}
    return len(text).to_bytes(8, "little") + text, places, start + at


def write(file: BinaryIO, place: int, name: str, tensor: Tensor) -> None:
    if tensor.dtype == torch.float16 and not torch.isfinite(tensor).all():
        raise InputError(f"{name} does not fit fp16, whose largest value is 65504; use bf16 or float32")
    file.seek(place)
    file.write(tensor.reshape(-1).contiguous().view(torch.uint8).numpy())


def check_target(source: Path, target: Path) -> None:
    if target.suffix != ".safetensors":
        raise InputError(f"{target} must end in .safetensors")
    if not target.parent.is_dir():
        raise InputError(f"{target.parent} is not a folder")
    if target.is_dir():
        raise InputError(f"{target} is a folder")
    if target.exists() and target.samefile(source):
        raise InputError(f"{target} is the source itself; choose another name")


def check_space(target: Path, size: int) -> None:
    free = shutil.disk_usage(target.parent).free
    if free < size:
        need, left = (math.ceil(n / 1e6) for n in (size, free))
        raise InputError(f"{target.parent} has {left} MB left; the converted file needs {need} MB")


@contextmanager
def opened(target: Path) -> Iterator[BinaryIO]:
    """The target to write to, whole or not at all. Raises ValueError when it cannot be written."""
    try:
        with atomic_write(target) as partial, partial.open("wb") as file:
            yield file
    except OSError as error:
        raise InputError(f"{target} cannot be written: {error.strerror}") from None
