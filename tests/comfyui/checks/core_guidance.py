"""ComfyUI's caches and guidance on our MODEL, each against the same by hand: (patched MODEL, denoiser by hand)."""

from typing import Any

import comfy_extras.nodes_apg as apg
import comfy_extras.nodes_cfg as cfg_nodes
import comfy_extras.nodes_custom_sampler as custom
import comfy_extras.nodes_easycache as caches
import comfy_extras.nodes_lumina2 as lumina
import comfy_extras.nodes_mahiro as mahiro
import comfy_extras.nodes_model_advanced as advanced
import comfy_extras.nodes_tcfg as tcfg
import torch
from torch import Tensor

from .by_hand import CFG, Case, Denoiser, Scenario, combine, denoise, guided, make_case, predict, to_denoised
from .setting import pack


def easy_cache(case: Case) -> tuple[Any, Denoiser]:
    """Some whole steps, then what the network added to its input is added again; in stage 1 for one step."""
    model = caches.EasyCacheNode.execute(case.model, 3.0, 0.0, 1.0, False)[0]
    added, skipped = {}, (2, 3) if case.flow else (2,)

    def branch(name: str, x: Tensor, sigma: float, step: int) -> Tensor:
        scaled = x if case.flow else x / (1 + sigma**2) ** 0.5
        if step not in skipped:
            out = predict(case, x, sigma, getattr(case, name))
            added[name] = out - scaled
        return to_denoised(case, x, sigma, scaled + added[name])

    def denoiser(x: Tensor, sigma: float, step: int) -> Tensor:
        cond, uncond = branch("txt", x, sigma, step), branch("negative", x, sigma, step)
        return uncond + CFG * (cond - uncond)

    return model, denoiser


def lazy_cache(case: Case) -> tuple[Any, Denoiser]:
    model, added, plain = caches.LazyCacheNode.execute(case.model, 3.0, 0.0, 1.0, False)[0], [], guided(case)

    def denoiser(x: Tensor, sigma: float, step: int) -> Tensor:
        if step < 2:
            added.append(plain(x, sigma, step) - x)
        return x + added[-1]

    return model, denoiser


def cfg_override(case: Case) -> tuple[Any, Denoiser]:
    """No guidance in the second half: the last two of four steps."""
    halfway = float(case.sigmas[1:3].mean())
    sampling = case.model.get_model_object("model_sampling")
    percent = next(p / 1000 for p in range(1, 1000) if sampling.percent_to_sigma(p / 1000) <= halfway)

    def denoiser(x: Tensor, sigma: float, step: int) -> Tensor:
        return guided(case)(x, sigma, step) if step < 2 else denoise(case, x, sigma, case.txt)

    return custom.CFGOverride.execute(case.model, 1.0, percent, 1.0)[0], denoiser


def cfg_zero_star(case: Case) -> tuple[Any, Denoiser]:
    def rule(x: Tensor, cond: Tensor, uncond: Tensor) -> Tensor:
        c, u = x - cond, x - uncond
        scaled = uncond * (c * u).sum() / ((u * u).sum() + 1e-8)
        return scaled + CFG * (cond - scaled)

    return cfg_nodes.CFGZeroStar.execute(case.model)[0], combine(case, rule)


def cfg_norm(case: Case) -> tuple[Any, Denoiser]:
    def rule(x: Tensor, cond: Tensor, uncond: Tensor) -> Tensor:
        out = uncond + CFG * (cond - uncond)
        return out * (cond.norm(dim=1, keepdim=True) / (out.norm(dim=1, keepdim=True) + 1e-8)).clamp(max=1)

    return cfg_nodes.CFGNorm.execute(case.model, 1.0)[0], combine(case, rule)


def rescale_cfg(case: Case) -> tuple[Any, Denoiser]:
    """Stage 2 on denoised latents, stage 1 on v: 0.7 of the result is scaled to the deviation of the prompt's."""

    def rescale(cond: Tensor, uncond: Tensor, dims: tuple[int, ...]) -> Tensor:
        out = uncond + CFG * (cond - uncond)
        return out * (0.7 * cond.std(dims, keepdim=True) / out.std(dims, keepdim=True) + 0.3)

    def denoiser(x: Tensor, sigma: float, step: int) -> Tensor:
        if case.flow:
            return rescale(*(denoise(case, x, sigma, t) for t in (case.txt, case.negative)), (1, 2, 3, 4))
        return to_denoised(
            case, x, sigma, rescale(*(predict(case, x, sigma, t) for t in (case.txt, case.negative)), (1, 2, 3))
        )

    return advanced.RescaleCFG().patch(case.model, 0.7)[0], denoiser


def renorm_cfg(case: Case) -> tuple[Any, Denoiser]:
    def denoiser(x: Tensor, sigma: float, step: int) -> Tensor:
        cond, uncond = (denoise(case, x, sigma, t) for t in (case.txt, case.negative))
        if sigma >= 100:
            return cond
        out = uncond + CFG * (cond - uncond)
        return out * min(1.0, float(cond.norm() / out.norm()))

    return lumina.RenormCFG.execute(case.model, 100.0, 1.0)[0], denoiser


def projected(case: Case) -> tuple[Any, Denoiser]:
    """eta 0: of the guidance only what is orthogonal to the prompt's branch, over T, H and W."""

    def rule(x: Tensor, cond: Tensor, uncond: Tensor) -> Tensor:
        guidance, dims = cond - uncond, (-1, -2, -3)
        unit = cond / torch.linalg.vector_norm(cond, dim=dims, keepdim=True)
        orthogonal = guidance - (guidance * unit).sum(dims, keepdim=True) * unit
        modified = uncond + orthogonal + guidance / CFG
        return uncond + CFG * (modified - uncond)

    return apg.APG.execute(case.model, 0.0, 0.0, 0.0)[0], combine(case, rule)


def check_a_limit_of_guidance_is_said_for_large_clips():
    """The default of 5 over 4 * 8 * 8 latents is 0.3 for each; over 400 times as many it is 0.016."""
    find_limit, model = pack("nodes.bridge.suitability").find_limit, make_case(2).model
    options = apg.APG.execute(model, 1.0, 5.0, 0.0)[0].model_options
    assert find_limit(options, torch.zeros(1, 16, 4, 8, 8)) is None
    assert "norm_threshold 5 limits guidance to 0.016" in find_limit(options, torch.zeros(1, 16, 4, 160, 160))
    unlimited = apg.APG.execute(model, 1.0, 0.0, 0.0)[0].model_options
    assert find_limit(unlimited, torch.zeros(1, 16, 4, 160, 160)) is None


def tangential(case: Case) -> tuple[Any, Denoiser]:
    """Of the negative branch only its share of the direction that both have in common."""

    def rule(x: Tensor, cond: Tensor, uncond: Tensor) -> Tensor:
        both = torch.stack([(x - uncond).flatten(), (x - cond).flatten()])
        common = torch.linalg.svd(both, full_matrices=False)[2][0]
        damped = x - ((both[0] @ common) * common).view_as(x)
        return damped + CFG * (cond - damped)

    return tcfg.TCFG.execute(case.model)[0], combine(case, rule)


def positive_biased(case: Case) -> tuple[Any, Denoiser]:
    def rule(x: Tensor, cond: Tensor, uncond: Tensor) -> Tensor:
        leap, out = cond * CFG, uncond + CFG * (cond - uncond)
        one, two = uncond * CFG, (leap + out) / 2
        roots = (t.abs().sqrt() * t.sign() for t in (one, two))
        share = 2 * (torch.nn.functional.cosine_similarity(*roots).mean() + 1)
        return (share * out + (4 - share) * leap) / 4

    return mahiro.Mahiro.execute(case.model)[0], combine(case, rule)


def zero_init(case: Case) -> tuple[Any, Denoiser]:
    """No prediction at all in the first step, as CFG-Zero* proposes for flows and packs of nodes offer."""
    model, first = case.model.clone(), float(case.sigmas[0])

    def guide(args: dict[str, Any]) -> Tensor:
        prediction = args["uncond"] + CFG * (args["cond"] - args["uncond"])
        return 0 * prediction if float(args["sigma"][0]) == first else prediction

    model.set_model_sampler_cfg_function(guide)
    return model, lambda x, sigma, step: x if step == 0 else guided(case)(x, sigma, step)


SCENARIOS: dict[str, Scenario] = {
    "EasyCache": easy_cache,
    "LazyCache": lazy_cache,
    "CFG Override": cfg_override,
    "CFG-Zero*": cfg_zero_star,
    "CFG-Zero* with zero init (of packs)": zero_init,
    "CFGNorm": cfg_norm,
    "RescaleCFG": rescale_cfg,
    "RenormCFG": renorm_cfg,
    "Adaptive Projected Guidance": projected,
    "Tangential Damping CFG": tangential,
    "Positive-Biased Guidance": positive_biased,
}
