"""LoRA files on our models: ours and ComfyUI's generic names, and those made for CogVideoX with diffusers."""

from pathlib import Path

import comfy.lora
import comfy.lora_convert
import comfy.utils

from ...flashvideo_core.errors import InputError
from ...flashvideo_core.weights.lora_keys import diffusers_lora
from .sampling import get_config
from .types import Model


def apply_lora(model: Model, path: str | Path, strength: float) -> Model:
    """A clone of the MODEL with the LoRA as a patch; its own loader knows no diffusers names for this model.

    Raises InputError when the file has nothing for this model or was made for another size.
    """
    config = get_config(model)
    tensors = comfy.utils.load_torch_file(str(path), safe_load=True)
    try:
        parts, left = diffusers_lora(tensors, config.hidden)
    except ValueError as error:
        raise InputError(f"this LoRA does not fit stage {config.stage}: {error}") from None
    lora, key_map = {name: tensors[name] for name in left}, comfy.lora.model_lora_keys_unet(model.model, {})
    for part in parts:
        name = f"{part.weight}[{part.start}]"
        key_map[name] = (f"diffusion_model.{part.weight}", (0, part.start, part.rows))
        lora |= {f"{name}.lora_up.weight": part.up.contiguous(), f"{name}.lora_down.weight": part.down}
        lora |= {} if part.alpha is None else {f"{name}.alpha": part.alpha}
    patched = model.clone()
    applied = patched.add_patches(comfy.lora.load_lora(comfy.lora_convert.convert_lora(lora), key_map), strength)
    if not applied:
        raise InputError(f"no layer of this LoRA is one of stage {config.stage}; it was made for another model")
    return patched
