"""A draft on disk: a latent file that ComfyUI's Load Latent opens, with its prompt, seed and settings."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from ..errors import InputError
from ..weights.atomic import save_weights
from ..weights.reader import WeightFile, open_safetensors

LATENT = "latent_tensor"  # by this name ComfyUI's Load Latent finds it
METADATA_KEY = "flashvideo_draft"  # of the record in the file's metadata
LATENT_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def save_draft(path: str | Path, latent: Tensor, record: Mapping[str, Any]) -> None:
    """Writes latent [1, 16, T, H, W] (VAE units) and the record, which JSON can hold, whole or not at all."""
    save_latent(path, latent, {METADATA_KEY: json.dumps(record)})


def save_latent(path: str | Path, latent: Tensor, metadata: Mapping[str, str]) -> None:
    """Writes latent [1, 16, T, H, W] (VAE units) for ComfyUI's Load Latent, whole or not at all."""
    save_weights(Path(path), name_tensors(latent), metadata)


def pack_latent(latent: Tensor, metadata: Mapping[str, str]) -> bytes:
    """The file of a latent [B, 16, T, H, W] (VAE units), as ComfyUI's Load Latent reads it."""
    return save(name_tensors(latent), metadata=dict(metadata))


def name_tensors(latent: Tensor) -> dict[str, Tensor]:
    """What the file holds. By the empty tensor ComfyUI knows that the latent is stored unscaled."""
    return {LATENT: latent.contiguous().cpu(), "latent_format_version_0": torch.tensor([])}


def load_draft(path: str | Path) -> tuple[Tensor, dict[str, Any]]:
    """The latent [1, 16, T, H, W] in float32 and the record, empty for a latent that ComfyUI saved.

    Raises InputError for a file that cannot be read or is no such latent, holds NaN, or has damaged metadata.
    """
    file = _open_draft(path)
    latent = file.tensors[LATENT]
    if latent.ndim != 5 or latent.shape[0] != 1 or latent.shape[1] != 16 or 0 in latent.shape:
        raise InputError(f"{path} holds a latent of shape {list(latent.shape)}; [1, 16, T, H, W] is needed")
    if latent.dtype not in LATENT_DTYPES:
        raise InputError(f"{path} holds a latent in {str(latent.dtype)[6:]}; float32, bfloat16 or float16 is needed")
    if not torch.isfinite(latent).all():
        raise InputError(f"{path} holds NaN or infinity")
    return latent.float(), _parse_record(path, file.metadata.get(METADATA_KEY, "{}"))


def load_draft_record(path: str | Path) -> dict[str, Any]:
    """The record alone, for which the latent is not read. Raises InputError as `load_draft` does."""
    return _parse_record(path, _open_draft(path).metadata.get(METADATA_KEY, "{}"))


def _open_draft(path: str | Path) -> WeightFile:
    try:
        file = open_safetensors(Path(path))
    except InputError as error:
        raise InputError(f"{path} is no saved draft: it {str(error).removeprefix(f'{path} ')}") from None
    if LATENT not in file.shapes:
        raise InputError(f"{path} is no saved draft: it holds no {LATENT}")
    return file


def _parse_record(path: str | Path, text: str) -> dict[str, Any]:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise InputError(f"{path} has damaged metadata")
    return record
