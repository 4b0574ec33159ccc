"""A safetensors file written one tensor at a time: the header first, then each tensor at its offset.

The whole is never in memory, as safetensors' own writer has it. Format: github.com/huggingface/safetensors, "Format".
"""

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from ..errors import InputError, WriteError
from .atomic import atomic_write

DTYPE_CODES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.uint8: "U8",
}


@dataclass(frozen=True)
class FileLayout:
    """header: its length and JSON; offsets: where each tensor begins in the file; size: of the file, in bytes."""

    header: bytes
    offsets: dict[str, int]
    size: int


def lay_out(outline: Mapping[str, Tensor], metadata: Mapping[str, str]) -> FileLayout:
    """The layout for tensors like those of the outline, which may be without memory (device "meta").

    Wide elements come first, so that every tensor begins at a multiple of its element. Raises InputError for a dtype
    that weights do not have.
    """
    entries, end = {"__metadata__": dict(metadata)}, 0
    for name in sorted(outline, key=lambda name: (-outline[name].element_size(), name)):
        tensor = outline[name]
        if tensor.dtype not in DTYPE_CODES:
            raise InputError(f"{name} is stored as {tensor.dtype}, which is no dtype of weights")
        begin, end = end, end + tensor.numel() * tensor.element_size()
        shape = list(tensor.shape)
        entries[name] = {"dtype": DTYPE_CODES[tensor.dtype], "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    start = 8 + len(text)
    offsets = {name: start + entries[name]["data_offsets"][0] for name in outline}
    return FileLayout(len(text).to_bytes(8, "little") + text, offsets, start + end)


def write_tensor(file: BinaryIO, offset: int, name: str, tensor: Tensor) -> None:
    """Raises InputError for a float16 tensor that is not finite."""
    if tensor.dtype == torch.float16 and not torch.isfinite(tensor).all():
        raise InputError(f"{name} does not fit fp16, whose largest value is 65504; use bf16 or float32")
    file.seek(offset)
    file.write(tensor.reshape(-1).contiguous().view(torch.uint8).numpy())


def check_disk_space(folder: Path, size: int) -> None:
    """Raises InputError where the folder's disk has less than size bytes left."""
    free = shutil.disk_usage(folder).free
    if free < size:
        need, left = (math.ceil(n / 1e6) for n in (size, free))
        raise InputError(f"{folder} has {left} MB left; the converted file needs {need} MB")


@contextmanager
def open_target(target: Path) -> Iterator[BinaryIO]:
    """The target to write to, whole or not at all. Raises InputError when it cannot be written, WriteError when the
    disk is full."""
    try:
        with atomic_write(target) as partial, partial.open("wb") as file:
            yield file
    except WriteError:
        raise
    except OSError as error:
        raise InputError(f"{target} cannot be written: {error.strerror}") from None
