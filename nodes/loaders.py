"""Load Model, Load VAE, Load Text Encoder, Load LoRA: files of ComfyUI's folders, or the embedded tiny model."""

from pathlib import Path

import folder_paths
import torch
from comfy_api.latest import io

from ..flashvideo_core.components import TINY
from .bridge import gguf
from .bridge.clip import load_text_clip
from .bridge.lora import apply_lora
from .bridge.models import load_model
from .bridge.preview_decoder import APPROXIMATE, list_small_decoders
from .bridge.types import Model
from .bridge.vae import load_vae

TINY_FILES = {
    "diffusion_models": {
        "tiny stage 1 (embedded)": "stage1.safetensors",
        "tiny stage 2 (embedded)": "stage2.safetensors",
    },
    "vae": {"tiny (embedded)": "vae.safetensors", "tiny decoder (embedded)": "decoder.safetensors"},
    "text_encoders": {"tiny (embedded)": "text.safetensors"},
    "loras": {"tiny student of stage 2 (embedded)": "lora.safetensors"},
}
"""The embedded model's files by ComfyUI's folder and the name in the list."""
WEIGHT_DTYPES = {
    "default": None,
    "fp8_e4m3fn": torch.float8_e4m3fn,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp32": torch.float32,
}


class FlashVideoModelLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlashVideoModelLoader",
            display_name="FlashVideo Load Model",
            category="FlashVideo",
            description="Loads one of FlashVideo's two transformers; which stage it is, is read from the file.",
            search_aliases=["flashvideo", "text to video", "t2v", "unet loader", "diffusion model"],
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=list_files("diffusion_models"),
                    tooltip="A file of models/diffusion_models (the released stage1.pt, stage2.pt or a converted "
                    ".safetensors), or the tiny model that comes with this pack.",
                ),
                io.Combo.Input(
                    "weight_dtype",
                    options=list(WEIGHT_DTYPES),
                    default="default",
                    tooltip="How the weights are kept in memory. default: what suits the machine. fp8_e4m3fn "
                    "halves the memory of bf16 at some loss of detail.",
                ),
            ],
            outputs=[io.Model.Output("model", tooltip="Stage 1 or stage 2, as the file says.")],
        )

    @classmethod
    def execute(cls, model_name: str, weight_dtype: str) -> io.NodeOutput:
        dtype = WEIGHT_DTYPES[weight_dtype]
        path = find_file("diffusion_models", model_name)
        return io.NodeOutput(load_model(path, {"dtype": dtype} if dtype else {}))


class FlashVideoVAELoader(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlashVideoVAELoader",
            display_name="FlashVideo Load VAE",
            category="FlashVideo",
            description="Loads the video VAE that both stages share, or a small decoder for a quick look.",
            search_aliases=["flashvideo", "cogvideox vae", "3d-vae", "taecvx", "taehv"],
            inputs=[
                io.Combo.Input(
                    "vae_name",
                    options=list_files("vae"),
                    tooltip="A file of models/vae: the released 3d-vae.pt, a converted .safetensors, or CogVideoX's "
                    "VAE in diffusers' format. Or the tiny VAE that comes with this pack. taecvx of models/vae_approx, "
                    "and the tiny decoder, only decode: quickly, for a look.",
                )
            ],
            outputs=[io.Vae.Output("vae", tooltip="Works with ComfyUI's own VAE nodes too.")],
        )

    @classmethod
    def execute(cls, vae_name: str) -> io.NodeOutput:
        return io.NodeOutput(load_vae(find_file("vae", vae_name)))


class FlashVideoTextEncoderLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlashVideoTextEncoderLoader",
            display_name="FlashVideo Load Text Encoder",
            category="FlashVideo",
            description="Loads T5-XXL for the released weights (as ComfyUI's Load CLIP of type cogvideox does), "
            "or the small word-level encoder of the tiny model.",
            search_aliases=["flashvideo", "t5", "clip loader"],
            inputs=[
                io.Combo.Input(
                    "clip_name",
                    options=list_files("text_encoders"),
                    tooltip="A T5-XXL file of models/text_encoders, or the tiny encoder that comes with this pack.",
                )
            ],
            outputs=[io.Clip.Output("clip", tooltip="For FlashVideo Encode Prompt.")],
        )

    @classmethod
    def execute(cls, clip_name: str) -> io.NodeOutput:
        return io.NodeOutput(load_text_clip(find_file("text_encoders", clip_name)))


class FlashVideoLoRALoader(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlashVideoLoRALoader",
            display_name="FlashVideo Load LoRA",
            category="FlashVideo",
            description="Adds a LoRA to a stage. Reads CogVideoX-5B LoRAs with diffusers' names (for stage 1), which "
            "ComfyUI's own LoRA loader cannot place; for LoRAs trained on this model either loader works.",
            search_aliases=["flashvideo", "lora", "cogvideox lora"],
            inputs=[
                io.Model.Input("model", tooltip="Stage 1, or stage 2 for a LoRA trained on it."),
                io.Combo.Input("lora_name", options=list_files("loras"), tooltip="A file of models/loras."),
                io.Float.Input(
                    "strength", default=1.0, min=-10.0, max=10.0, step=0.01, tooltip="How strongly it acts; 0: not."
                ),
            ],
            outputs=[io.Model.Output("model")],
        )

    @classmethod
    def execute(cls, model: Model, lora_name: str, strength: float) -> io.NodeOutput:
        return io.NodeOutput(apply_lora(model, find_file("loras", lora_name), strength))


def list_files(folder: str) -> list[str]:
    """What can be chosen: the files of one of ComfyUI's folders, with the pack ComfyUI-GGUF its .gguf files, then those
    of the embedded model."""
    files = folder_paths.get_filename_list(folder)
    if folder == "vae":
        return [*files, *TINY_FILES[folder], *list_small_decoders()]
    if folder == "diffusion_models" and gguf.FOLDER in folder_paths.folder_names_and_paths:
        files = [*files, *folder_paths.get_filename_list(gguf.FOLDER)]
    return [*files, *TINY_FILES.get(folder, {})]


def find_file(folder: str, name: str) -> str | Path:
    """The file of an entry: of the embedded model, or in one of ComfyUI's folders, which no name may leave."""
    if name in TINY_FILES.get(folder, {}):
        return TINY / TINY_FILES[folder][name]
    if folder == "vae" and name in list_small_decoders():
        return folder_paths.get_full_path_or_raise(APPROXIMATE, name)
    is_gguf = folder == "diffusion_models" and name.endswith(".gguf")
    return folder_paths.get_full_path_or_raise(gguf.FOLDER if is_gguf else folder, name)


NODES = [FlashVideoModelLoader, FlashVideoVAELoader, FlashVideoTextEncoderLoader, FlashVideoLoRALoader]
