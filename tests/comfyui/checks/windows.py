"""Attention over windows on our MODEL: as in the core, with every kernel and patch that ComfyUI puts into attention."""

from typing import Any

import comfy.model_management as mm
import comfy_extras.nodes_torch_compile as torch_compile
import torch
from torch import Tensor

from .by_hand import CFG, Case, denoise, euler, make_case, sample
from .setting import SAMPLING, STAGE2, assert_close, forward, load_stage, pack, small_inputs

SIDES, DENSE = (2, 3), 1


def add_windows(case: Case) -> Any:
    """A clone of the case's MODEL with windows after its first evaluation."""
    speed, windows, model = pack("nodes.bridge.speed"), pack("flashvideo_core.windows"), case.model.clone()
    model.model_options["transformer_options"][speed.SPEED] = speed.Speed(windows.Window(*SIDES), DENSE)
    return model


def denoise_in_windows(case: Case, x: Tensor, sigma: float, step: int) -> Tensor:
    windows, dense = pack("flashvideo_core.windows"), pack("flashvideo_core.attention").attention
    grid = windows.Grid(x.shape[2], x.shape[3] // 2, x.shape[4] // 2, case.txt.shape[1])
    attend = dense if step < DENSE else windows.bind_window(dense, grid, windows.Window(*SIDES))
    cond, uncond = (denoise(case, x, sigma, txt, attention=attend) for txt in (case.txt, case.negative))
    return uncond + CFG * (cond - uncond)


def check_windows_are_those_of_the_core():
    case = make_case(2)
    ours = sample(case, add_windows(case))
    assert_close(ours, euler(case, lambda x, sigma, step: denoise_in_windows(case, x, sigma, step)), SAMPLING)
    assert float((ours - sample(case, case.model)).abs().max()) > 1e-3


def check_windows_of_a_compiled_network():
    """It is compiled for the dense evaluation, and again for those with windows."""
    case = make_case(2)
    model = add_windows(case)
    compiled = torch_compile.TorchCompileModel.execute(model, "eager")[0]
    assert_close(sample(case, compiled), sample(case, model), SAMPLING)


def check_attention_of_choice_computes_each_tile_and_patches_see_the_whole():
    window, model, lengths, patched = pack("flashvideo_core.windows").Window(2, 4), load_stage(STAGE2), [], []
    mm.load_models_gpu([model], force_full_load=True)

    def override(function: Any, *args: Any, **kwargs: Any) -> Tensor:
        lengths.append((args[0].shape[2], args[1].shape[2]))
        return function(*args, **kwargs)

    def patch(out: Tensor, options: dict[str, Any]) -> Tensor:
        patched.append((tuple(out.shape), options["img_slice"]))
        return out

    inputs = small_inputs() | {"window": window}
    plain = forward(model, inputs)
    assert torch.equal(plain, forward(model, inputs, optimized_attention_override=override))
    assert lengths == [(10, 46), (12, 34), (12, 34), (12, 34)] * 2
    assert torch.equal(plain, forward(model, inputs, patches={"attn1_output_patch": [patch]}))
    assert patched == [((1, 46, 128), [10, 46])] * 2
    stg = {"stg_self_attn_blocks": [0, 1]}
    assert torch.equal(forward(model, inputs, **stg), forward(model, small_inputs(), **stg))
