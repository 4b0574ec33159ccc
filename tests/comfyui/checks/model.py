"""ComfyUI's features on the MODEL: offload, clones, compile, fp8, overrides, interrupts, odd sizes."""

import tempfile
from pathlib import Path

import comfy.model_management as mm
import torch

from .setting import (
    SAMPLING,
    STAGE1,
    STAGE2,
    VAE,
    assert_close,
    forward,
    load_stage,
    pack,
    raises,
    refine,
    small_inputs,
)


def check_partial_load_is_identical():
    """Most weights stay offloaded and are cast on the way: nothing changes, with and without a LoRA."""
    for lora in (False, True):
        results = []
        for budget in (None, 200_000):
            model = load_stage(STAGE2)
            if lora:
                model.add_patches({"diffusion_model.blocks.1.mlp_up.weight": ("diff", (torch.full((512, 128), 0.01),))})
            if budget is None:
                model.patch_model(device_to=torch.device("cpu"))
            else:
                model.patch_model(device_to=torch.device("cpu"), lowvram_model_memory=budget)
                assert model.model.model_lowvram
                assert model.loaded_size() <= budget
            results.append(forward(model, small_inputs()))
        assert torch.equal(*results)


def check_clones_for_compile_and_multigpu():
    model = load_stage(STAGE2)
    wanted = refine(model)
    for clone in (model.clone(disable_dynamic=True), model.clone(disable_dynamic=True, force_deepcopy=True)):
        assert torch.equal(refine(clone), wanted)
    copy = model.deepclone_multigpu(torch.device("cpu"))
    assert copy.model is not model.model
    assert torch.equal(refine(copy), wanted)
    vae = pack("nodes.bridge.vae").load_vae(VAE)
    assert vae.patcher.clone(force_deepcopy=True).model is not vae.patcher.model


def check_torch_compile():
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    model = load_stage(STAGE2)
    compiled = model.clone(disable_dynamic=True)
    set_torch_compile_wrapper(model=compiled, backend="aot_eager")
    assert_close(refine(compiled), refine(model), SAMPLING)


def check_fp8_storage():
    """e4m3 weights are cast on the way: exactly the result of weights rounded to e4m3."""
    model = load_stage(STAGE2, {"dtype": torch.float8_e4m3fn})
    assert model.model.diffusion_model.blocks[0].qkv.weight.dtype == torch.float8_e4m3fn
    rounded = load_stage(STAGE2)
    for p in rounded.model.diffusion_model.parameters():
        p.data = p.data.to(torch.float8_e4m3fn).float()
    assert_close(refine(model), refine(rounded), SAMPLING)


def check_scaled_fp8_file():
    """The converter's fp8 file stays quantised in ComfyUI and gives what the core computes from it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stage2_fp8.safetensors"
        pack("flashvideo_core.convert").convert(STAGE2, path, "fp8")
        core = pack("flashvideo_core.checkpoint").load_transformer(path)
        model = load_stage(path, {})
    mm.load_models_gpu([model], force_full_load=True)
    weight = model.model.diffusion_model.blocks[0].qkv.weight
    assert type(weight).__name__ == "QuantizedTensor"
    inputs, dtype = small_inputs(), model.model.get_dtype_inference()
    inputs = {name: t if name == "timestep" else t.to(dtype) for name, t in inputs.items()}
    ours = forward(model, {**inputs, "ref_step": 675}).float()
    wanted = -core(inputs["x"].float(), inputs["timestep"], inputs["context"].float(), 675)
    assert_close(ours, wanted, 0.05)  # ComfyUI may quantise the activations as well


def check_attention_override_and_wrappers():
    model, calls = load_stage(STAGE1), []
    mm.load_models_gpu([model], force_full_load=True)
    plain = forward(model, small_inputs())

    def override(function, *args, **kwargs):
        calls.append((args[0].shape, kwargs["skip_reshape"]))
        return function(*args, **kwargs)

    assert torch.equal(forward(model, small_inputs(), optimized_attention_override=override), plain)
    assert calls == [((1, 2, 46, 64), True)] * 2

    def wrapper(executor, *args, **kwargs):
        return 2 * executor(*args, **kwargs)

    wrappers = {"diffusion_model": {"test": [wrapper]}}
    assert torch.equal(forward(model, small_inputs(), wrappers=wrappers), 2 * plain)


def check_interrupt_within_one_block():
    model, calls = load_stage(STAGE2), []
    mm.load_models_gpu([model], force_full_load=True)

    def override(function, *args, **kwargs):
        calls.append(1)
        mm.interrupt_current_processing()
        return function(*args, **kwargs)

    with raises(mm.InterruptProcessingException, ""):
        forward(model, small_inputs(), optimized_attention_override=override)
    assert len(calls) == 1, "the second of two blocks was still computed"


def check_broken_weights_are_reported_after_one_evaluation():
    model, calls = load_stage(STAGE2), []
    model.model.diffusion_model.blocks[0].qkv.weight.data[0, 0] = float("nan")
    model.model_options["transformer_options"]["optimized_attention_override"] = count_calls(calls)
    with raises(ValueError, "NaN"):
        refine(model, steps=4)
    assert len(calls) == 2, "two blocks of one evaluation"


def count_calls(calls: list[int]):
    def override(function, *args, **kwargs):
        calls.append(1)
        return function(*args, **kwargs)

    return override


def check_odd_sizes_are_padded_and_cropped():
    model, inputs = load_stage(STAGE1), small_inputs()
    mm.load_models_gpu([model], force_full_load=True)
    out = forward(model, {**inputs, "x": inputs["x"][..., :5, :7]})
    assert out.shape == (1, 16, 3, 5, 7)


def check_memory_estimates():
    """What ComfyUI reserves is the core's estimate (measured in test_memory_transformer.py) with a tenth to spare."""
    model, vae, memory = load_stage(STAGE2), pack("nodes.bridge.vae").load_vae(VAE), pack("flashvideo_core.memory")
    full = memory.transformer_peak(model.model.diffusion_model.config, 2, (13, 134, 240), 4)
    assert model.model.memory_required([2, 16, 13, 134, 240]) == 1.1 * full
    where = (vae.first_stage_model.config, (49, 1072, 1920), torch.float16, vae.device)
    decode, encode = (memory.vae_peak(where[0], kind, *where[1:]) for kind in ("decode", "encode"))
    assert vae.memory_used_decode((2, 16, 13, 134, 240), torch.float16) == 2 * decode
    assert vae.memory_used_encode((1, 3, 49, 1072, 1920), torch.float16) == encode
