"""LoRA files of every spelling on the MODEL, against weights merged by hand."""

import tempfile
from pathlib import Path

import comfy.model_management as mm
import comfy.sd
import torch
from safetensors.torch import load_file, save_file

from .setting import SAMPLING, STAGE1, STAGE2, assert_close, forward, load_stage, pack, raises, small_inputs


def check_generic_lora_equals_merged_weights():
    import comfy.lora

    model = load_stage(STAGE2)
    down, up = torch.randn(4, 128), torch.randn(384, 4)
    name = "diffusion_model.blocks.0.qkv"
    for keys in ((f"{name}.lora_A.weight", f"{name}.lora_B.weight"), lora_unet(name)):
        patched, _ = comfy.sd.load_lora_for_models(model, None, {keys[0]: down, keys[1]: up}, 0.5, 0.0)
        mm.load_models_gpu([patched], force_full_load=True)
        with_lora = forward(patched, small_inputs())
        mm.unload_all_models()
        merged = load_stage(STAGE2)
        merged.model.diffusion_model.blocks[0].qkv.weight.data += 0.5 * up @ down
        assert_close(with_lora, forward(merged, small_inputs()), SAMPLING)


def lora_unet(name: str) -> tuple[str, str]:
    stem = "lora_unet_" + name.removeprefix("diffusion_model.").replace(".", "_")
    return f"{stem}.lora_down.weight", f"{stem}.lora_up.weight"


def check_diffusers_lora_on_stage1():
    """Each of diffusers' layers, in each spelling, against weights merged by hand."""
    layers = {"attn1.to_q": 1, "attn1.to_k": 1, "attn1.to_v": 1, "attn1.to_out.0": 1, "ff.net.0.proj": 4}
    layers |= {"ff.net.2": 1, "norm1.linear": 6, "norm2.linear": 6}
    inner = {"ff.net.2": 4 * 128, "norm1.linear": 64, "norm2.linear": 64}
    g = torch.Generator().manual_seed(1)
    pairs = {
        name: (torch.randn(4, inner.get(name, 128), generator=g), torch.randn(n * 128, 4, generator=g))
        for name, n in layers.items()
    }
    delta = {name: up @ down for name, (down, up) in pairs.items()}
    merged = load_stage(STAGE1)
    block, d = merged.model.diffusion_model.blocks[1], 128
    block.qkv.weight.data += torch.cat([delta["attn1.to_q"], delta["attn1.to_k"], delta["attn1.to_v"]])
    block.attn_out.weight.data += delta["attn1.to_out.0"]
    block.mlp_up.weight.data += delta["ff.net.0.proj"]
    block.mlp_down.weight.data += delta["ff.net.2"]
    one, two = delta["norm1.linear"], delta["norm2.linear"]  # video's shift, scale, gate, then the text's
    block.modulation.weight.data += torch.cat([one[: 3 * d], two[: 3 * d], one[3 * d :], two[3 * d :]])
    wanted = forward(merged, small_inputs())
    dotted, flat, alphas = {}, {}, {}
    for name, (down, up) in pairs.items():
        long, short = f"transformer.transformer_blocks.1.{name}", f"lora_unet_transformer_blocks_1_{name}"
        short = short.replace(".", "_")
        dotted |= {f"{long}.lora_A.weight": down, f"{long}.lora_B.weight": up}
        flat |= {f"{short}.lora_down.weight": down, f"{short}.lora_up.weight": up}
        alphas[f"{short}.alpha"] = torch.tensor(2.0)
    assert_close(with_lora(dotted), wanted, SAMPLING)
    assert_close(with_lora(flat), wanted, SAMPLING)
    halved = with_lora(flat | alphas)  # alpha 2 of rank 4
    assert_close(halved, with_lora(dotted, 0.5), SAMPLING)
    assert (halved - wanted).abs().max() > 0.01


def with_lora(tensors: dict[str, torch.Tensor], strength: float = 1.0) -> torch.Tensor:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lora.safetensors"
        save_file({name: t.contiguous() for name, t in tensors.items()}, path)
        patched = pack("nodes.bridge.lora").apply_lora(load_stage(STAGE1), path, strength)
    mm.load_models_gpu([patched], force_full_load=True)
    return forward(patched, small_inputs())


def check_a_lora_of_ours_equals_its_merge():
    """What training writes, by ComfyUI's own loader and by ours, is what `convert --lora` merges."""
    lora = pack("flashvideo_core.training.lora")
    model = lora.add_lora(pack("flashvideo_core.checkpoint").load_transformer(STAGE2), 4, 2.0)
    trained = {name: torch.randn_like(p) / 10 for name, p in model.named_parameters() if p.requires_grad}
    with tempfile.TemporaryDirectory() as folder:
        path, target = Path(folder) / "lora.safetensors", Path(folder) / "merged.safetensors"
        save_file(lora.convert_lora(model, trained, torch.float32), path)
        pack("flashvideo_core.convert").convert(STAGE2, target, "float32", lora=path)
        wanted = forward(load_stage(target), small_inputs())
        theirs, _ = comfy.sd.load_lora_for_models(load_stage(STAGE2), None, load_file(path), 1.0, 0.0)
        ours = pack("nodes.bridge.lora").apply_lora(load_stage(STAGE2), path, 1.0)
        for patched in (theirs, ours):
            mm.load_models_gpu([patched], force_full_load=True)
            assert_close(forward(patched, small_inputs()), wanted, SAMPLING)
            mm.unload_all_models()
    assert float((wanted - forward(load_stage(STAGE2), small_inputs())).abs().max()) > 0.01


def check_the_embedded_student_equals_its_merge():
    """The shipped LoRA, which is float16, by ComfyUI's own loader and by ours, is what `convert --lora` merges."""
    folder, g = pack("flashvideo_core.components").TINY, torch.Generator().manual_seed(4)
    base, path = folder / "stage2.safetensors", folder / "lora.safetensors"
    x, txt = torch.randn(1, 16, 2, 6, 8, generator=g), torch.randn(1, 8, 64, generator=g)
    inputs = {"x": x, "timestep": torch.full((1,), 1000.0), "context": txt}
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "student.safetensors"
        pack("flashvideo_core.convert").convert(base, target, "float32", lora=path)
        wanted = forward(load_stage(target), inputs)
    theirs, _ = comfy.sd.load_lora_for_models(load_stage(base), None, load_file(path), 1.0, 0.0)
    for patched in (theirs, pack("nodes.bridge.lora").apply_lora(load_stage(base), path, 1.0)):
        mm.load_models_gpu([patched], force_full_load=True)
        assert_close(forward(patched, inputs), wanted, SAMPLING)
        mm.unload_all_models()
    assert float((wanted - forward(load_stage(base), inputs)).abs().max()) > 0.01


def check_lora_of_another_model_is_refused():
    with raises(ValueError, "made for another model"):
        with_lora({"transformer.layers.0.to_q.lora_A.weight": torch.randn(4, 8)})
    pair = {"A": torch.randn(4, 64), "B": torch.randn(64, 4)}
    with raises(ValueError, "does not fit stage 1"):
        with_lora({f"transformer_blocks.0.attn1.to_q.lora_{side}.weight": t for side, t in pair.items()})
