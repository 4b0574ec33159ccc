"""GGUF files of our transformers: linear layers in llama.cpp's block formats, the rest in float32.

Names in the file are ours; our metadata stands in its keys `flashvideo.NAME`. Reading and writing go through the
package gguf (github.com/ggml-org/llama.cpp, gguf-py), which is imported where it is used.
"""

import errno
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import InputError, first_sentence
from ..packages import require_package
from .atomic import atomic_write

ARCHITECTURE = "flashvideo"
FORMATS = ("q8_0", "q5_0", "q4_0")
BLOCK = 32  # elements of a row that share a scale, in all of these
BYTES = {"q8_0": 34, "q5_0": 22, "q4_0": 18}  # of a block


class StoredTensor(NamedTuple):
    """A tensor as the file has it: uint8 [..., bytes of a row] in a block format, else its values; and its shape."""

    data: Tensor
    kind: "gguf.GGMLQuantizationType"  # noqa: F821
    shape: tuple[int, ...]


class GGUFTensors(Mapping[str, Tensor]):
    """The tensors of a GGUF file by name, unpacked on access: float16 as stored, everything else in float32."""

    def __init__(self, stored: dict[str, StoredTensor]):
        self.stored = stored

    def __getitem__(self, name: str) -> Tensor:
        import gguf

        data, kind, shape = self.stored[name]
        if kind in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16):
            return data.reshape(shape)
        unpacked = gguf.quants.dequantize(data.numpy(), kind)
        return torch.from_numpy(unpacked).reshape(shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)

    def name_kind(self) -> str:
        """The block format of most tensors, as llama.cpp spells it in small letters."""
        names = Counter(tensor.kind.name.lower() for tensor in self.stored.values())
        return max(names, key=lambda name: (name not in ("f32", "f16"), names[name]))


def open_gguf(path: Path) -> tuple[GGUFTensors, dict[str, str]]:
    """Tensors and metadata; the file is mapped, not read. Raises InputError for a damaged file or without gguf."""
    require_package("gguf", "GGUF files are read with", "gguf")
    import gguf

    try:
        reader = gguf.GGUFReader(path, "c")  # copy on write: torch wants no arrays that cannot be written
        stored = {
            tensor.name: StoredTensor(
                torch.from_numpy(tensor.data), tensor.tensor_type, tuple(int(side) for side in reversed(tensor.shape))
            )
            for tensor in reader.tensors
        }
        prefix = f"{ARCHITECTURE}."
        metadata = {
            name.removeprefix(prefix): bytes(field.parts[field.data[0]]).decode()
            for name, field in reader.fields.items()
            if name.startswith(prefix)
        }
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, OSError, MemoryError) as error:
        raise InputError(f"{path} is cut off or damaged: {first_sentence(error)}") from None
    return GGUFTensors(stored), metadata


def is_packed(name: str, tensor: Tensor) -> bool:
    """Whether a parameter is put into blocks: the linear weights of the transformer's blocks, where rows allow it."""
    return name.startswith("blocks.") and tensor.ndim == 2 and tensor.shape[-1] % BLOCK == 0


def count_bytes(outline: Mapping[str, Tensor], kind: str) -> int:
    """About the size of the file. outline: tensors of the right shapes, which may be without memory."""
    return sum(
        tensor.numel() // BLOCK * BYTES[kind] if is_packed(name, tensor) else 4 * tensor.numel()
        for name, tensor in outline.items()
    )


def write_gguf(
    path: Path,
    outline: Mapping[str, Tensor],
    tensors: Iterable[tuple[str, Tensor]],
    kind: str,
    metadata: Mapping[str, str],
) -> None:
    """Writes tensors one after the other, in the order of the outline, whose shapes they have.

    kind: one of FORMATS. Raises InputError without the package gguf, WriteError when the disk is full.
    """
    require_package("gguf", "GGUF files are written with", "gguf")
    import gguf

    packed = gguf.GGMLQuantizationType[kind.upper()]
    with atomic_write(path) as partial:
        writer = gguf.GGUFWriter(partial, ARCHITECTURE)
        try:
            for name, text in metadata.items():
                writer.add_string(f"{ARCHITECTURE}.{name}", text)
            for name, tensor in outline.items():
                _add_info(writer, name, tensor, packed)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for name, tensor in tensors:
                values = tensor.float().contiguous().numpy()
                writer.write_tensor_data(gguf.quants.quantize(values, packed) if is_packed(name, tensor) else values)
        except OSError as error:  # NumPy writes without saying why it could not
            raise error if error.errno else OSError(errno.ENOSPC, str(error)) from None
        finally:
            writer.close()


def _add_info(writer: "gguf.GGUFWriter", name: str, tensor: Tensor, packed: int) -> None:  # noqa: F821
    import gguf
    import numpy as np

    shape = tuple(tensor.shape) or (1,)
    if is_packed(name, tensor):
        rows = gguf.quant_shape_to_byte_shape(shape, packed)
        writer.add_tensor_info(name, rows, np.dtype(np.uint8), int(np.prod(rows)), packed)
    else:
        writer.add_tensor_info(name, shape, np.dtype(np.float32), 4 * tensor.numel())
