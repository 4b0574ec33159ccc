"""A draft on disk: a latent file that ComfyUI's Load Latent opens, with its prompt, seed and settings."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..errors import InputError
from ..weights.atomic import atomic_write


def save_draft(path: str | Path, latent: Tensor, record: dict) -> None:
    """Writes latent [1, 16, T, H, W] (VAE units) and the record (JSON-able), whole or not at all."""
    # the empty tensor is how ComfyUI knows that the latent is stored unscaled
    tensors = {"latent_tensor": latent.contiguous().cpu(), "latent_format_version_0": torch.tensor([])}
    with atomic_write(Path(path)) as partial:
        partial.write_bytes(save(tensors, metadata={"flashvideo_draft": json.dumps(record)}))


def load_draft(path: str | Path) -> tuple[Tensor, dict]:
    """The latent and the record; the record is empty for a latent that ComfyUI saved. Raises ValueError."""
    try:
        with safe_open(path, framework="pt") as file:
            latent, metadata = file.get_tensor("latent_tensor"), file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is no saved draft: {str(error).splitlines()[0]}") from None
    if latent.ndim != 5 or latent.shape[0] != 1 or latent.shape[1] != 16 or 0 in latent.shape:
        raise InputError(f"{path} holds a latent of shape {list(latent.shape)}; [1, 16, T, H, W] is needed")
    if not torch.isfinite(latent).all():
        raise InputError(f"{path} holds NaN or infinity")
    try:
        return latent.float(), json.loads(metadata.get("flashvideo_draft", "{}"))
    except ValueError:
        raise InputError(f"{path} has damaged metadata") from None
