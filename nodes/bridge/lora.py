"""LoRA files on our models: ours and ComfyUI's generic names, and those made for CogVideoX with diffusers."""

from pathlib import Path

import comfy.lora
import comfy.lora_convert
from torch import Tensor

from ...flashvideo_core.errors import InputError
from ...flashvideo_core.weights.lora_keys import LoraPair, match_diffusers_lora
from ...flashvideo_core.weights.reader import open_file
from .sampling import get_config
from .types import Model

WeightRows = tuple[str, tuple[int, int, int]]
"""A weight's name and (axis, start, length), as ComfyUI's patches take it."""


def apply_lora(model: Model, path: str | Path, strength: float) -> Model:
    """A clone of the MODEL with the LoRA as a patch; its own loader knows no diffusers names for this model.

    Raises InputError for a file that is none of weights, has nothing for this model or was made for another size.
    """
    config = get_config(model)
    tensors, _, metadata = open_file(Path(path))
    try:
        pairs, other_names = match_diffusers_lora(tensors, config.hidden, metadata)
    except InputError as error:
        raise InputError(f"{Path(path).name} does not fit stage {config.stage}: {error}") from None
    lora, key_map = rename_pairs(pairs)
    lora |= {name: tensors[name] for name in other_names}
    key_map |= comfy.lora.model_lora_keys_unet(model.model, {})
    patched = model.clone()
    applied = patched.add_patches(comfy.lora.load_lora(comfy.lora_convert.convert_lora(lora), key_map), strength)
    if not applied:
        raise InputError(f"no layer of {Path(path).name} is one of stage {config.stage}; it was made for another model")
    return patched


def rename_pairs(pairs: list[LoraPair]) -> tuple[dict[str, Tensor], dict[str, WeightRows]]:
    """The pairs under names that ComfyUI reads, and for each of these names the weight and rows it stands for."""
    lora, key_map = {}, {}
    for pair in pairs:
        name = f"{pair.weight}[{pair.start}]"
        key_map[name] = (f"diffusion_model.{pair.weight}", (0, pair.start, pair.rows))
        lora |= {f"{name}.lora_up.weight": pair.up.contiguous(), f"{name}.lora_down.weight": pair.down}
        lora |= {} if pair.alpha is None else {f"{name}.alpha": pair.alpha}
    return lora, key_map
