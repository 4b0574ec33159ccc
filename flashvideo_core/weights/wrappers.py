"""Names that a framework put before ours: ComfyUI's save nodes, DistributedDataParallel, torch.compile.

ComfyUI's ModelSave, VAESave, CLIPSave and CheckpointSave keep no metadata of a model. So ours travels as one more
tensor, `flashvideo_metadata`: the UTF-8 bytes of a JSON object of texts, as ComfyUI keeps `comfy_quant`.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ..errors import InputError
from .reader import WeightFile, open_file

Component = Literal["transformer", "vae", "text"]

METADATA = "flashvideo_metadata"
VAE_HASH = "vae_sha256"  # in a small decoder's metadata: of the file of the VAE that it was trained for
TRAVELS = ("config", "latent_rgb", VAE_HASH, "words")  # of a file's metadata; its hash is not that of what is saved
_PARALLEL = ("module.", "_orig_mod.")
# (component, what ComfyUI writes before its names, the one of our names by which it is known)
_SAVED = (
    ("transformer", "model.diffusion_model.", "patch_embed.weight"),
    ("transformer", "diffusion_model.", "patch_embed.weight"),
    ("vae", "first_stage_model.", "encoder.conv_in.conv.weight"),
    ("text", "cond_stage_model.encoder.", "words.weight"),
    ("text", "encoder.", "words.weight"),
)


class RenamedTensors(Mapping[str, Tensor]):
    """Tensors by other names. stored: the new name -> the name in the file."""

    def __init__(self, tensors: Mapping[str, Tensor], stored: dict[str, str]):
        self.tensors, self.stored = tensors, stored

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[self.stored[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)


def open_component(path: Path, component: Component | None = None) -> WeightFile:
    """The file with its tensors' bare names: of one component where it holds several, by default the first of them.

    Raises InputError for a file that cannot be read (reader.py).
    """
    file = open_file(path)
    for prefix in _PARALLEL:
        while file.shapes and all(name.startswith(prefix) for name in file.shapes):
            file = _take_prefixed(file, prefix)
    for kind, prefix, known_by in _SAVED:
        if component in (None, kind) and prefix + known_by in file.shapes:
            file = _take_prefixed(file, prefix)
            break
    return _read_saved_metadata(path, file) if METADATA in file.shapes else file


def find_stored(tensors: Mapping[str, Tensor], name: str) -> tuple[Mapping[str, Tensor], str]:
    """The file's own table behind renamed ones, and the name in it."""
    while isinstance(tensors, RenamedTensors):
        tensors, name = tensors.tensors, tensors.stored[name]
    return tensors, name


def pack_metadata(metadata: Mapping[str, str]) -> dict[str, Tensor]:
    """What a file of weights says of itself, as a tensor under its name, for a writer that keeps no metadata."""
    kept = {name: text for name, text in metadata.items() if name in TRAVELS}
    return {METADATA: torch.tensor(list(json.dumps(kept).encode()), dtype=torch.uint8)}


def _take_prefixed(file: WeightFile, prefix: str) -> WeightFile:
    """The tensors whose names have the prefix, without it."""
    return _rename(file, {name.removeprefix(prefix): name for name in file.shapes if name.startswith(prefix)})


def _rename(file: WeightFile, stored: dict[str, str]) -> WeightFile:
    shapes = {new: file.shapes[name] for new, name in stored.items()}
    return WeightFile(RenamedTensors(file.tensors, stored), shapes, file.metadata)


def _read_saved_metadata(path: Path, file: WeightFile) -> WeightFile:
    """The file with that tensor's texts as metadata."""
    try:
        found = json.loads(bytes(file.tensors[METADATA].tolist()))
        texts = {name: value for name, value in found.items() if isinstance(value, str)}
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise InputError(f"{path} holds a {METADATA} that cannot be read") from None
    return _rename(file, {name: name for name in file.shapes if name != METADATA})._replace(
        metadata=file.metadata | texts
    )
