"""Load Model, Load VAE, Load Text Encoder, Load LoRA: files of ComfyUI's folders, or the embedded tiny model."""

import folder_paths
import torch
from comfy_api.latest import io

from ..flashvideo_core.components import TINY
from .bridge.clip import load_text_clip
from .bridge.lora import apply_lora
from .bridge.models import load_model
from .bridge.vae import load_vae

TINY_MODELS = {"tiny stage 1 (embedded)": "stage1.safetensors", "tiny stage 2 (embedded)": "stage2.safetensors"}
TINY_NAME = "tiny (embedded)"
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
        files = folder_paths.get_filename_list("diffusion_models")
        return io.Schema(
            node_id="FlashVideoModelLoader",
            display_name="FlashVideo Load Model",
            category="FlashVideo",
            description="Loads one of FlashVideo's two transformers; which stage it is, is read from the file.",
            search_aliases=["flashvideo", "text to video", "t2v", "unet loader", "diffusion model"],
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=[*files, *TINY_MODELS],
                    tooltip="A file of models/diffusion_models (the released stage1.pt, stage2.pt or a converted "
                    ".safetensors), or the tiny model that comes with this pack.",
                ),
                io.Combo.Input(
                    "weight_dtype",
                    options=list(WEIGHT_DTYPES),
                    default="default",
                    tooltip="How the weights are kept in memory. default: what suits the machine. fp8 halves the "
                    "memory of bf16 at some loss of detail.",
                    advanced=True,
                ),
            ],
            outputs=[io.Model.Output("model", tooltip="Stage 1 or stage 2, as the file says.")],
        )

    @classmethod
    def execute(cls, model_name, weight_dtype) -> io.NodeOutput:
        path = (
            TINY / TINY_MODELS[model_name] if model_name in TINY_MODELS else full_path("diffusion_models", model_name)
        )
        dtype = WEIGHT_DTYPES[weight_dtype]
        return io.NodeOutput(load_model(path, {"dtype": dtype} if dtype else {}))


class FlashVideoVAELoader(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlashVideoVAELoader",
            display_name="FlashVideo Load VAE",
            category="FlashVideo",
            description="Loads the video VAE that both stages share.",
            search_aliases=["flashvideo", "cogvideox vae", "3d-vae"],
            inputs=[
                io.Combo.Input(
                    "vae_name",
                    options=[*folder_paths.get_filename_list("vae"), TINY_NAME],
                    tooltip="A file of models/vae: the released 3d-vae.pt, a converted .safetensors, or CogVideoX's "
                    "VAE in diffusers' format. Or the tiny VAE that comes with this pack.",
                )
            ],
            outputs=[io.Vae.Output("vae", tooltip="Works with ComfyUI's own VAE nodes too.")],
        )

    @classmethod
    def execute(cls, vae_name) -> io.NodeOutput:
        return io.NodeOutput(
            load_vae(TINY / "vae.safetensors" if vae_name == TINY_NAME else full_path("vae", vae_name))
        )


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
                    options=[*folder_paths.get_filename_list("text_encoders"), TINY_NAME],
                    tooltip="A T5-XXL file of models/text_encoders, or the tiny encoder that comes with this pack.",
                )
            ],
            outputs=[io.Clip.Output("clip", tooltip="For FlashVideo Encode Prompt.")],
        )

    @classmethod
    def execute(cls, clip_name) -> io.NodeOutput:
        path = TINY / "text.safetensors" if clip_name == TINY_NAME else full_path("text_encoders", clip_name)
        return io.NodeOutput(load_text_clip(path))


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
                io.Combo.Input(
                    "lora_name", options=folder_paths.get_filename_list("loras"), tooltip="A file of models/loras."
                ),
                io.Float.Input(
                    "strength", default=1.0, min=-10.0, max=10.0, step=0.01, tooltip="How strongly it acts; 0: not."
                ),
            ],
            outputs=[io.Model.Output("model")],
        )

    @classmethod
    def execute(cls, model, lora_name, strength) -> io.NodeOutput:
        return io.NodeOutput(apply_lora(model, full_path("loras", lora_name), strength))


def full_path(folder: str, name: str) -> str:
    """The file's path; ComfyUI refuses names that leave the folder."""
    return folder_paths.get_full_path_or_raise(folder, name)


NODES = [FlashVideoModelLoader, FlashVideoVAELoader, FlashVideoTextEncoderLoader, FlashVideoLoRALoader]
