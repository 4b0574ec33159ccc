"""How ComfyUI runs our MODEL: compiled, with another attention, LoRAs, several GPUs; and two more of its guidances."""

from typing import Any

import comfy.sd
import comfy_extras.nodes_custom_sampler as custom
import comfy_extras.nodes_eps as eps
import comfy_extras.nodes_fresca as fresca
import comfy_extras.nodes_model_advanced as advanced
import comfy_extras.nodes_torch_compile as torch_compile
import torch
from comfy_api.torch_helpers import set_torch_compile_wrapper
from torch import Tensor

from .by_hand import CFG, Case, Denoiser, Scenario, combine, denoise, guided, sample
from .core_patches import skip_layer, without_block
from .saved import load_again
from .setting import FLOAT32


def compiled(model: Any) -> Any:
    """What TorchCompileModel does, without a C++ compiler."""
    out = model.clone(disable_dynamic=True)
    options = {"guard_filter_fn": torch_compile.skip_torch_compile_dict}
    set_torch_compile_wrapper(model=out, backend="aot_eager", options=options)
    return out


def compile_alone(case: Case) -> tuple[Any, Denoiser]:
    return compiled(case.model), guided(case)


def compile_with_skip_layer(case: Case) -> tuple[Any, Denoiser]:
    """Compiled before anything is patched, and used without guidance: all evaluations have one shape."""
    sample(case, compiled(custom.CFGOverride.execute(case.model, 1.0, 0.0, 1.0)[0]))
    model, _ = skip_layer(case)

    def denoiser(x: Tensor, sigma: float, step: int) -> Tensor:
        cond, worse = (
            denoise(case, x, sigma, case.txt, **options) for options in ({}, {"around_block": without_block})
        )
        return cond + 3 * (cond - worse)

    return compiled(custom.CFGOverride.execute(model, 1.0, 0.0, 1.0)[0]), denoiser


def other_attention(case: Case) -> tuple[Any, Denoiser]:
    """Attention that forgets the text: an override gets q, k, v of every block and says what comes of them."""
    model, text = case.model.clone(), case.txt.shape[1]

    def override(function: Any, q: Tensor, k: Tensor, v: Tensor, heads: int, **kwargs: Any) -> Tensor:
        return function(q, k[:, :, text:], v[:, :, text:], heads, **kwargs)

    def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return torch.nn.functional.scaled_dot_product_attention(q, k[:, :, text:], v[:, :, text:])

    model.model_options["transformer_options"]["optimized_attention_override"] = override
    return model, combine(case, lambda x, c, u: u + CFG * (c - u), attention=attention)


def two_loras(case: Case) -> tuple[Any, Denoiser]:
    """By LoraLoaderModelOnly's own function, one after the other, on one layer and on another."""
    model, g = case.model, torch.Generator().manual_seed(5)
    for block, layer, strength in ((0, "qkv", 0.5), (1, "mlp_down", -0.7), (0, "qkv", 0.3)):
        weight = getattr(case.dit.blocks[block], layer).weight
        down, up = (torch.randn(size, generator=g) / 10 for size in ((4, weight.shape[1]), (weight.shape[0], 4)))
        name = f"diffusion_model.blocks.{block}.{layer}"
        lora = {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}
        model, _ = comfy.sd.load_lora_for_models(model, None, lora, strength, 0.0)
        weight.data += strength * up @ down
    return model, guided(case)


def saved(case: Case) -> tuple[Any, Denoiser]:
    """The LoRAs baked in by ModelSave, and read again by our loader."""
    model, denoiser = two_loras(case)
    return load_again(model, FLOAT32), denoiser


def two_devices(case: Case) -> tuple[Any, Denoiser]:
    """Each branch of guidance on a device of its own: MultiGPU CFG Split, with the CPU for both."""
    model = case.model.clone()
    other = model.deepclone_multigpu(torch.device("cpu", 0))
    other.is_multigpu_base_clone = True
    model.set_additional_models("multigpu", [other])
    return model, guided(case)


def epsilon_scaling(case: Case) -> tuple[Any, Denoiser]:
    def denoiser(x: Tensor, sigma: float, step: int) -> Tensor:
        return x - (x - guided(case)(x, sigma, step)) / 1.1

    return eps.EpsilonScaling.execute(case.model, 1.1)[0], denoiser


def frequencies(case: Case) -> tuple[Any, Denoiser]:
    """All frequencies of 8x8 latents are low."""
    return fresca.FreSca.execute(case.model, 0.5, 1.25, 20)[0], guided(case, 0.5 * CFG)


SCENARIOS: dict[str, Scenario] = {
    "TorchCompileModel": compile_alone,
    "TorchCompileModel after Skip Layer Guidance": compile_with_skip_layer,
    "another attention (optimized_attention_override)": other_attention,
    "LoraLoaderModelOnly, three in a row": two_loras,
    "ModelSave, then FlashVideo Load Model": saved,
    "MultiGPU CFG Split": two_devices,
    "Epsilon Scaling": epsilon_scaling,
    "FreSca": frequencies,
    "ModelComputeDtype, fp32": lambda case: (advanced.ModelComputeDtype().patch(case.model, "fp32")[0], guided(case)),
}
