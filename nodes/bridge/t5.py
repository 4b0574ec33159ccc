"""T5-XXL from a file, through ComfyUI's own classes. Any other text encoder is refused by what its tensors say."""

from pathlib import Path

import comfy.model_patcher
import comfy.sd
import comfy.utils
import folder_paths

from ...flashvideo_core.config import STAGE1
from ...flashvideo_core.errors import InputError
from ...flashvideo_core.weights.keys import Shapes
from ...flashvideo_core.weights.reader import open_file

IN_CHECKPOINT = "cond_stage_model.t5xxl.transformer."  # what ComfyUI's CheckpointSave writes before its names
WIDTH, WORDS = STAGE1.text_dim, 32128


def load_t5_clip(path: Path) -> comfy.sd.CLIP:
    """T5-XXL as ComfyUI's CLIPLoader of type cogvideox loads it. Raises InputError for a file that holds none."""
    shapes = open_file(path).shapes
    in_checkpoint = any(name.startswith(IN_CHECKPOINT) for name in shapes)
    if fault := find_fault(shapes, IN_CHECKPOINT if in_checkpoint else ""):
        raise InputError(f"{path} {fault}; FlashVideo reads T5-XXL, or the encoder that comes with small weights")
    if in_checkpoint:
        return load_from_checkpoint(path)
    embeddings = folder_paths.get_folder_paths("embeddings")
    return comfy.sd.load_clip([str(path)], embeddings, clip_type=comfy.sd.CLIPType.COGVIDEOX)


def load_from_checkpoint(path: Path, disable_dynamic: bool = False) -> comfy.sd.CLIP:
    """The T5 of a file that ComfyUI's CheckpointSave wrote, which its own CLIP loaders do not look into."""
    state = comfy.utils.load_torch_file(str(path), safe_load=True)
    state = comfy.utils.state_dict_prefix_replace(state, {IN_CHECKPOINT: ""}, filter_keys=True)
    clip = comfy.sd.load_text_encoder_state_dicts(
        [state],
        folder_paths.get_folder_paths("embeddings"),
        comfy.sd.CLIPType.COGVIDEOX,
        disable_dynamic=disable_dynamic,
    )
    clip.patcher.cached_patcher_init = (load_patcher, (path,))
    return clip


def load_patcher(path: Path, disable_dynamic: bool = False) -> comfy.model_patcher.ModelPatcher:
    """ComfyUI's factory for copies on other devices."""
    return load_from_checkpoint(path, disable_dynamic).patcher


def find_fault(shapes: Shapes, prefix: str = "") -> str | None:
    """Why a file is not T5-XXL, as the end of a sentence that begins with its path; None for one that is."""
    query = shapes.get(f"{prefix}encoder.block.0.layer.0.SelfAttention.q.weight")
    words = shapes.get(f"{prefix}shared.weight", (WORDS,))[0]
    if query is None:
        return "holds no T5 text encoder"
    if query[-1] != WIDTH:
        return f"is a T5 of width {query[-1]}, not the {WIDTH} of T5-XXL"
    if words != WORDS:
        return f"is a T5 with {words} words, not the {WORDS} of T5-XXL (UMT5 and mT5 are other encoders)"
    return None
