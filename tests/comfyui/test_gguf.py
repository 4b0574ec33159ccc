"""GGUF weights with the real pack ComfyUI-GGUF beside ours: its layers keep them packed, with LoRA as well."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support.comfy_models import two_stage_prompt, with_saved_latents, write_small_models
from support.comfy_server import ComfyServer
from support.comfyui import COMFYUI_PATH, PACK, Prompt

from flashvideo_core.convert import convert

GGUF_PACK = Path(os.environ.get("COMFYUI_GGUF", COMFYUI_PATH / "custom_nodes" / "ComfyUI-GGUF"))

pytest.importorskip("gguf", reason="NO GGUF: the package gguf is missing")
pytestmark = [
    pytest.mark.comfyui,
    pytest.mark.skipif(
        not GGUF_PACK.is_dir(),
        reason=f"NO GGUF PACK: {GGUF_PACK} is no checkout of ComfyUI-GGUF; set COMFYUI_GGUF (its Python needs gguf)",
    ),
]


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> Iterator[ComfyServer]:
    """A server with both packs, stage 2 in Q8_0, and the very same numbers unpacked into a safetensors file."""
    base = tmp_path_factory.mktemp("gguf")
    write_small_models(base / "models")
    folder = base / "models" / "diffusion_models"
    convert(folder / "small2.safetensors", folder / "small2-q8_0.gguf", "q8_0")
    convert(folder / "small2-q8_0.gguf", folder / "unpacked2.safetensors")
    (base / "models" / "loras").mkdir(exist_ok=True)
    lora = {"lora_A": torch.randn(4, 64) / 8, "lora_B": torch.randn(192, 4) / 8}
    tensors = {f"diffusion_model.blocks.1.qkv.{name}.weight": tensor for name, tensor in lora.items()}
    save_file(tensors, base / "models" / "loras" / "small.safetensors")
    with ComfyServer(packs={"ComfyUI-FlashVideo": PACK, "ComfyUI-GGUF": GGUF_PACK}, base=base) as running:
        yield running


def refine(server: ComfyServer, name: str, lora: bool) -> torch.Tensor:
    """Stage 2's latent by the weights of that file."""
    prompt: Prompt = with_saved_latents(two_stage_prompt(), refined=["stage2", 0])
    prompt["model2"]["inputs"]["model_name"] = name
    if lora:
        inputs = {"model": ["model2", 0], "lora_name": "small.safetensors", "strength": 1.0}
        prompt["lora"] = {"class_type": "FlashVideoLoRALoader", "inputs": inputs}
        prompt["stage2"]["inputs"]["model"] = ["lora", 0]
    return server.saved_latents(server.complete(prompt))["refined"]


def test_gguf_files_are_listed(both):
    info = both.get("/object_info/FlashVideoModelLoader")["FlashVideoModelLoader"]
    names = info["input"]["required"]["model_name"][1]["options"]
    assert "small2-q8_0.gguf" in names and "small2.safetensors" in names


@pytest.mark.parametrize("lora", [False, True])
def test_packed_weights_give_what_they_unpack_to(both, lora):
    """But for the pack's own arithmetic: it multiplies blocks and scales in float16, 11 bits, and so does not reach the
    core, which unpacks in float32."""
    packed, unpacked = (refine(both, name, lora) for name in ("small2-q8_0.gguf", "unpacked2.safetensors"))
    assert "is unpacked" not in both.log()
    torch.testing.assert_close(packed, unpacked, rtol=0, atol=4 * 2**-11 * float(unpacked.abs().max()))
    whole = refine(both, "small2.safetensors", lora)
    assert 0 < float((packed - whole).abs().max()) < 0.2 * float(whole.abs().max())


def test_a_lora_changes_the_packed_weights(both):
    with_lora, without = (refine(both, "small2-q8_0.gguf", lora) for lora in (True, False))
    assert not torch.equal(with_lora, without)
