"""GUIDERs for SamplerCustomAdvanced around our MODEL: ComfyUI's, and ours with a scale that CFG Override fixes."""

from dataclasses import replace
from typing import Any

import comfy_extras.nodes_custom_sampler as custom
import comfy_extras.nodes_perpneg as perpneg
import torch
from torch import Tensor

from .by_hand import CFG, STEPS, Case, Denoiser, Scenario, denoise, guided, make_case
from .setting import conditioning, pack


def basic(case: Case) -> tuple[Any, Denoiser]:
    """The prompt's branch alone."""
    guider = custom.BasicGuider.execute(case.model, conditioning(case.txt))[0]
    return guider, lambda x, sigma, step: denoise(case, x, sigma, case.txt)


def dual(case: Case) -> tuple[Any, Denoiser]:
    """Guidance by one prompt, and from that one on to another."""
    middle = case.txt.flip(1)
    conds = [conditioning(txt) for txt in (case.txt, middle, case.negative)]

    def denoiser(x: Tensor, sigma: float, step: int) -> Tensor:
        cond, mid, uncond = (denoise(case, x, sigma, txt) for txt in (case.txt, middle, case.negative))
        return uncond + 2 * (mid - uncond) + 3 * (cond - mid)

    return custom.DualCFGGuider.execute(case.model, *conds, 3.0, 2.0, "regular")[0], denoiser


def two_models(case: Case) -> tuple[Any, Denoiser]:
    """The negative prompt by a model of other weights."""
    other, by_hand = make_case(case.stage), make_case(case.stage)
    for p in (*other.model.model.diffusion_model.parameters(), *by_hand.dit.parameters()):
        p.data *= 1.1
    prompts = {"positive": conditioning(case.txt), "negative": conditioning(case.negative)}

    def denoiser(x: Tensor, sigma: float, step: int) -> Tensor:
        cond, uncond = denoise(case, x, sigma, case.txt), denoise(by_hand, x, sigma, case.negative)
        return uncond + CFG * (cond - uncond)

    return custom.DualModelGuider.execute(case.model, cfg=CFG, model_negative=other.model, **prompts)[0], denoiser


def two_stages(case: Case) -> tuple[Any, None]:
    prompts = {"positive": conditioning(case.txt), "negative": conditioning(case.negative)}
    other = make_case(3 - case.stage).model
    return custom.DualModelGuider.execute(case.model, cfg=CFG, model_negative=other, **prompts)[0], None


def no_negative(case: Case) -> tuple[Any, Denoiser]:
    """No text is the released unconditional: zeros."""
    zeros = torch.zeros(1, case.dit.config.text_length, case.dit.config.text_dim)
    guider = custom.DualModelGuider.execute(case.model, conditioning(case.txt), CFG)[0]
    return guider, guided(replace(case, negative=zeros))


def perpendicular(case: Case) -> tuple[Any, Denoiser]:
    """Away from the part of the negative prompt that does not speak against the positive one."""
    empty = case.negative * 0
    conds = [conditioning(txt) for txt in (case.txt, case.negative, empty)]

    def denoiser(x: Tensor, sigma: float, step: int) -> Tensor:
        cond, against, nothing = (denoise(case, x, sigma, txt) for txt in (case.txt, case.negative, empty))
        towards, away = cond - nothing, against - nothing
        away = away - (away * towards).sum() / (towards * towards).sum() * towards
        return nothing + CFG * (towards - away)

    return perpneg.PerpNegGuider.execute(case.model, *conds, CFG, 1.0)[0], denoiser


def ours_overridden(case: Case) -> tuple[Any, Denoiser]:
    """The released scale in the first half, none in the second."""
    sampling = case.model.get_model_object("model_sampling")
    halfway = float(case.sigmas[1:3].mean())
    percent = next(p / 1000 for p in range(1, 1000) if sampling.percent_to_sigma(p / 1000) <= halfway)
    model = custom.CFGOverride.execute(case.model, 1.0, percent, 1.0)[0]
    guidance = "constant" if case.flow else "released"
    prompts = (conditioning(case.txt), conditioning(case.negative))
    schedule = pack("flashvideo_core.guidance").find_cfg_schedule(guidance)

    def denoiser(x: Tensor, sigma: float, step: int) -> Tensor:
        if step >= 2:
            return denoise(case, x, sigma, case.txt)
        scale = schedule(CFG, float(sampling.timestep(case.sigmas[step : step + 1])[0]), STEPS)
        return guided(case, scale)(x, sigma, step)

    return pack("nodes.bridge.sampling").Guider(model, *prompts, CFG, guidance), denoiser


SCENARIOS: dict[str, Scenario] = {
    "BasicGuider": basic,
    "Dual CFG Guider": dual,
    "Dual Model CFG Guider": two_models,
    "Dual Model CFG Guider, the other stage": two_stages,
    "Dual Model CFG Guider, no negative prompt": no_negative,
    "Perp-Neg Guider": perpendicular,
    "FlashVideo Guider after CFG Override": ours_overridden,
}
