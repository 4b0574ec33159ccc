"""Opening a file of weights: safetensors, GGUF, or a .pt of plain tensors. Nothing in it is ever executed.

Tensors stay on disk until they are asked for (all kinds are memory-mapped). Whatever is wrong with a file
becomes an InputError of one line that begins with its path.
"""

import hashlib
import pickle
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import InputError, first_sentence
from .file_kind import describe_damage, find_file_kind
from .gguf_file import open_gguf
from .identify import select_used
from .keys import RELEASED_OUTER, Shapes


class LazyTensors(Mapping[str, Tensor]):
    """The tensors of a safetensors file by name, read on access."""

    def __init__(self, path: Path):
        self.file = safe_open(path, framework="pt")
        names = self.file.keys()
        self.shapes = {name: tuple(self.file.get_slice(name).get_shape()) for name in names}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.shapes:
            raise KeyError(name)
        return self.file.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


class WeightFile(NamedTuple):
    """An opened file: its tensors by name, read on access, their shapes, and the metadata ({} for a .pt)."""

    tensors: Mapping[str, Tensor]
    shapes: Shapes
    metadata: dict[str, str]


def open_file(path: Path) -> WeightFile:
    """Raises InputError for a file that is neither kind (file_kind.py says what it is), or damaged."""
    kind = find_file_kind(path)
    if kind == "safetensors":
        tensors = _map_safetensors(path)
        return WeightFile(tensors, tensors.shapes, tensors.file.metadata() or {})
    if kind == "gguf":
        tensors, metadata = open_gguf(path)
        return WeightFile(tensors, {name: stored.shape for name, stored in tensors.stored.items()}, metadata)
    tensors = _open_pt(path)
    return WeightFile(tensors, {name: tuple(tensor.shape) for name, tensor in tensors.items()}, {})


def open_safetensors(path: Path) -> WeightFile:
    """open_file, for what is a safetensors file and nothing else: latents and embeddings."""
    if (kind := find_file_kind(path)) != "safetensors":
        found = {"pt": "torch checkpoint", "gguf": "GGUF file"}[kind]
        raise InputError(f"{path} is a {found}, where a safetensors file is needed")
    return open_file(path)


def file_sha256(path: str | Path) -> str:
    """The SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _map_safetensors(path: Path) -> LazyTensors:
    try:
        return LazyTensors(path)
    except (SafetensorError, OSError, ValueError, OverflowError) as error:
        reason = describe_damage(path) or first_sentence(error)
        raise InputError(f"{path} is cut off or damaged: {reason}") from None


def _open_pt(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        if found := re.search(r"GLOBAL (\S+)", str(error)):
            raise InputError(f"{path} carries code or objects ({found[1]}), which are never executed") from None
        raise InputError(f"{path} is damaged: {first_sentence(error)}") from None
    except Exception as error:  # torch and the unpickler raise many types here
        raise InputError(f"{path} is cut off or damaged: {first_sentence(error)}") from None
    for outer in RELEASED_OUTER:
        if isinstance(content, dict) and isinstance(content.get(outer), dict):
            content = content[outer]
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise InputError(f"{path} holds a {type(content).__name__}, not a table of named tensors")
    others = [name for name in select_used(content) if not isinstance(content[name], Tensor)]
    if others:
        raise InputError(f"{path} holds {others[0]} as a {type(content[others[0]]).__name__}, not a tensor")
    return {name: value for name, value in content.items() if isinstance(value, Tensor)}
