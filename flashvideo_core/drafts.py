"""A draft on disk: a latent file that ComfyUI's Load Latent opens, with its prompt, seed and settings."""

import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor


def save_draft(path: str | Path, latent: Tensor, record: dict) -> None:
    """Writes latent [1, 16, T, H, W] (VAE units) and the record (JSON-able) atomically."""
    path = Path(path)
    partial = path.with_suffix(".partial")
    # the empty tensor is how ComfyUI knows that the latent is stored unscaled
    tensors = {"latent_tensor": latent.contiguous().cpu(), "latent_format_version_0": torch.tensor([])}
    save_file(tensors, partial, metadata={"flashvideo_draft": json.dumps(record)})
    os.replace(partial, path)


def load_draft(path: str | Path) -> tuple[Tensor, dict]:
    """The latent and the record; the record is empty for a latent that ComfyUI saved. Raises ValueError."""
    try:
        with safe_open(path, framework="pt") as file:
            latent, metadata = file.get_tensor("latent_tensor"), file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is no saved draft: {str(error).splitlines()[0]}") from None
    if latent.ndim != 5 or latent.shape[1] != 16:
        raise ValueError(f"{path} holds a latent of shape {tuple(latent.shape)}; [1, 16, T, H, W] is needed")
    return latent, json.loads(metadata.get("flashvideo_draft", "{}"))
