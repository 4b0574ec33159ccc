"""Weights of any known layout -> our safetensors, tensor by tensor.

    python -m flashvideo_core convert stage1.pt stage1.safetensors --dtype bf16 [--lora trained.safetensors]
    python -m flashvideo_core convert stage1.pt stage1-q8_0.gguf --dtype q8_0

The file's layout is known from a dry run on tensors without memory; then every tensor is made, written at its offset
and dropped, so the 11.8 GB of stage 1 need the memory of a few of its tensors.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from .checkpoint import Weights, build_meta_model, make_metadata, match_tensors, open_weights, read_tensor
from .config import TransformerConfig
from .errors import InputError
from .types import ProgressCallback
from .weights.gguf_file import FORMATS as GGUF_FORMATS
from .weights.gguf_file import count_bytes, write_gguf
from .weights.keys import QUANT, SCALE
from .weights.lora import merge_lora, read_lora, read_student_defaults
from .weights.lora_keys import LoraPair
from .weights.reader import file_sha256
from .weights.sources import TensorSource
from .weights.streaming import check_disk_space, lay_out, open_target, write_tensor

FP8 = torch.float8_e4m3fn
FP8_MAX = 448.0
FORMATS = {"stored": None, "float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp8": FP8}
FORMATS |= dict.fromkeys(GGUF_FORMATS, torch.float32)


class Summary(TypedDict):
    """What was written, as JSON."""

    source: str
    target: str
    dtype: str
    config: dict[str, Any]
    tensors: int
    bytes: int
    source_sha256: str


@dataclass(frozen=True)
class Conversion:
    """What becomes of each parameter: its source, the LoRA that is merged into it, and the form in which it is kept."""

    sources: Mapping[str, TensorSource]
    linear: frozenset[str]  # the weights of linear layers, which fp8 is for
    dtype: torch.dtype | None  # None: as stored
    lora: Mapping[str, list[LoraPair]]
    strength: float

    def convert_parameter(self, weights: Weights, name: str) -> dict[str, Tensor]:
        """What the new file holds for one parameter, by name: one tensor, or three for an fp8 layer."""
        source, lora = self.sources[name], self.lora.get(name, ())
        stored = weights.tensors[source.weight]
        was_fp8, keeps_dtype = source.scale is not None, self.dtype in (None, FP8)
        if was_fp8 and keeps_dtype and not lora:
            return make_fp8_layer(name, stored, weights.tensors[source.scale].float().reshape(()))
        tensor = read_tensor(weights, source)
        if lora:
            tensor = merge_lora(tensor, lora, self.strength)
        if name in self.linear and (self.dtype is FP8 or (was_fp8 and self.dtype is None)):
            return make_fp8_layer(name, *quantise(tensor.float()))
        return {name: tensor.to(stored.dtype if keeps_dtype else self.dtype)}


def convert(
    source: str | Path,
    target: str | Path,
    dtype: str = "stored",
    callback: ProgressCallback | None = None,
    lora: str | Path | None = None,
    strength: float = 1.0,
) -> Summary:
    """Writes source's weights to target (.safetensors, .gguf) and returns a summary that JSON can hold.

    dtype: "stored" (each tensor as it is in the source), "float32", "bf16", "fp16", or "fp8": the weights of a
    transformer's linear layers in e4m3 with a scale each, everything else as stored; or one of GGUF's block formats,
    "q8_0", "q5_0", "q4_0", for a target that ends in .gguf (weights/gguf_file.py). LoRA, the source's own and that
    of the file `lora` times `strength`, is merged in float32 before the cast; a distilled student's, at strength 1,
    brings its defaults. `callback("convert", step, total, None)` follows every tensor. The target appears whole or not
    at all. Raises InputError for unusable weights, a LoRA of
    another model, an unknown dtype, and a target that cannot be written or is the source.
    """
    source, target = Path(source), Path(target)
    if dtype not in FORMATS:
        raise InputError(f"dtype is {dtype!r}; choose one of {', '.join(FORMATS)}")
    weights = open_weights(source)
    check_target(source, target, ".gguf" if dtype in GGUF_FORMATS else ".safetensors")
    if dtype in ("fp8", *GGUF_FORMATS) and not isinstance(weights.config, TransformerConfig):
        raise InputError(f"{source} is no transformer: {dtype} is for their linear layers; use bf16 or fp16")
    conversion = prepare_conversion(weights, FORMATS[dtype], lora, strength)
    outline = outline_file(conversion, weights)
    sha256 = hash_sources(source, lora, strength)
    config = weights.config if lora is None or strength != 1 else read_student_defaults(lora, weights.config)
    metadata = {**weights.metadata, **make_metadata(config, sha256)}
    tensors = convert_tensors(conversion, weights, callback)
    if dtype in GGUF_FORMATS:
        check_disk_space(target.parent, count_bytes(outline, dtype))
        write_gguf(target, outline, tensors, dtype, metadata)
    else:
        write_safetensors(target, outline, tensors, metadata)
    return {
        "source": str(source),
        "target": str(target),
        "dtype": dtype,
        "config": json.loads(metadata["config"]),
        "tensors": len(outline),
        "bytes": target.stat().st_size,
        "source_sha256": sha256,
    }


def convert_tensors(
    conversion: Conversion, weights: Weights, callback: ProgressCallback | None
) -> Iterator[tuple[str, Tensor]]:
    """What the new file holds, in the order of its outline. `callback` follows every parameter."""
    for step, name in enumerate(conversion.sources, 1):
        yield from conversion.convert_parameter(weights, name).items()
        if callback is not None:
            callback("convert", step, len(conversion.sources), None)


def write_safetensors(
    target: Path, outline: Mapping[str, Tensor], tensors: Iterable[tuple[str, Tensor]], metadata: Mapping[str, str]
) -> None:
    """Writes tensors one after the other, each at its place."""
    layout = lay_out(outline, metadata)
    check_disk_space(target.parent, layout.size)
    with open_target(target) as file:
        file.write(layout.header)
        for name, tensor in tensors:
            write_tensor(file, layout.offsets[name], name, tensor)


def prepare_conversion(
    weights: Weights, dtype: torch.dtype | None, lora: str | Path | None, strength: float
) -> Conversion:
    """The conversion of a whole file. Raises InputError for weights with something missing or another model's LoRA."""
    model = build_meta_model(weights)
    sources = match_tensors(weights, model)
    linear = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    pairs = {} if lora is None else open_lora(lora, weights, model, strength)
    return Conversion(sources, frozenset(linear), dtype, pairs, strength)


def outline_file(conversion: Conversion, weights: Weights) -> dict[str, Tensor]:
    """Every tensor of the new file without memory: the conversion of tensors without memory."""
    meta = replace(weights, tensors={name: tensor.to("meta") for name, tensor in weights.tensors.items()})
    outline = {}
    for name in conversion.sources:
        outline |= conversion.convert_parameter(meta, name)
    return outline


def open_lora(lora: str | Path, weights: Weights, model: nn.Module, strength: float) -> dict[str, list[LoraPair]]:
    """The pairs of a LoRA file by our weight names. Raises InputError."""
    if not isinstance(weights.config, TransformerConfig):
        raise InputError(f"{weights.path} is no transformer: a LoRA is for one of the two stages")
    if not math.isfinite(strength):
        raise InputError(f"the strength of the LoRA is {strength}; it must be a finite number")
    return read_lora(lora, weights.config, {name: tuple(p.shape) for name, p in model.state_dict().items()})


def hash_sources(source: Path, lora: str | Path | None, strength: float) -> str:
    """What the new file is known by: the source's SHA-256, or one of all that was merged."""
    if lora is None:
        return file_sha256(source)
    return hashlib.sha256(f"{file_sha256(source)} {file_sha256(lora)} {strength!r}".encode()).hexdigest()


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A float32 weight as e4m3 and one float32 scale, the largest value at the end of e4m3's range."""
    scale = weight.abs().amax() / FP8_MAX
    scale = torch.where(scale > 0, scale, 1.0)
    return (weight / scale).clamp(-FP8_MAX, FP8_MAX).to(FP8), scale


def make_fp8_layer(name: str, weight: Tensor, scale: Tensor) -> dict[str, Tensor]:
    """The three tensors that ComfyUI keeps for an fp8 layer (its comfy.ops, QuantizedTensor layouts)."""
    layer = name.removesuffix(".weight")
    tag = torch.tensor(list(json.dumps({"format": "float8_e4m3fn"}).encode()), dtype=torch.uint8)
    return {name: weight, layer + SCALE: scale, layer + QUANT: tag}


def check_target(source: Path, target: Path, suffix: str) -> None:
    """Raises InputError for a target that cannot be written, is the source, or has the name of another format."""
    if target.suffix != suffix:
        raise InputError(f"{target} must end in {suffix}")
    if not target.parent.is_dir():
        raise InputError(f"{target.parent} is not a folder")
    if target.is_dir():
        raise InputError(f"{target} is a folder")
    if target.exists() and target.samefile(source):
        raise InputError(f"{target} is the source itself; choose another name")
