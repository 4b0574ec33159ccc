"""GGUF weights in ComfyUI: kept packed by the layers of the pack ComfyUI-GGUF where it is loaded, else unpacked.

The pack (github.com/city96/ComfyUI-GGUF) reads the files of its own list of models only, so its layers, tensors and
patcher are taken, and the file is read here. It is found through the node that it registers.
"""

import logging
import sys
from typing import NamedTuple

import comfy.model_patcher
import torch
from torch import Tensor

from ...flashvideo_core.checkpoint import Weights, read_tensor
from ...flashvideo_core.weights.gguf_file import GGUFTensors, StoredTensor
from ...flashvideo_core.weights.sources import TensorSource
from ...flashvideo_core.weights.wrappers import find_stored

FOLDER = "unet_gguf"  # by this name the pack registers the .gguf files of models/diffusion_models


class GGUFPack(NamedTuple):
    """What is taken of ComfyUI-GGUF: its layers, its tensor, and its patcher, which keeps LoRA beside the weights."""

    operations: type
    tensor: type[Tensor]
    patcher: type[comfy.model_patcher.ModelPatcher]


def find_pack() -> GGUFPack | None:
    """The pack, if ComfyUI has loaded it."""
    try:
        loader = sys.modules["nodes"].NODE_CLASS_MAPPINGS["UnetLoaderGGUF"]  # ComfyUI's nodes: this pack has its own
        module = sys.modules[loader.__module__]
        layers = sys.modules[module.GGMLOps.__module__]
        return GGUFPack(module.GGMLOps, layers.GGMLTensor, module.GGUFModelPatcher)
    except (AttributeError, KeyError):
        return None


def choose_pack(weights: Weights) -> GGUFPack | None:
    """The pack for a file in GGUF; None for another file, and, with a warning, where the pack is not loaded."""
    if not is_gguf(weights):
        return None
    pack = find_pack()
    if pack is None:
        logging.warning(
            "FlashVideo: %s is unpacked, as the pack ComfyUI-GGUF, which keeps it small, is not loaded", weights.path
        )
    return pack


def is_gguf(weights: Weights) -> bool:
    return any(isinstance(find_stored(weights.tensors, name)[0], GGUFTensors) for name in weights.tensors)


def read_packed(pack: GGUFPack, weights: Weights, source: TensorSource, dtype: torch.dtype) -> Tensor:
    """A parameter as the pack's layers take it: packed as it is stored, or in `dtype` where it is no block format."""
    tensors, name = find_stored(weights.tensors, source.weight)
    stored: StoredTensor = tensors.stored[name]
    if stored.data.dtype != torch.uint8:
        return read_tensor(weights, source).to(dtype)
    return pack.tensor(stored.data, tensor_type=stored.kind, tensor_shape=torch.Size(stored.shape))


def make_patcher(pack: GGUFPack, patcher: comfy.model_patcher.ModelPatcher) -> comfy.model_patcher.ModelPatcher:
    """The patcher as one of the pack's, whose patches are added whenever a layer is unpacked."""
    return pack.patcher.clone(patcher)
