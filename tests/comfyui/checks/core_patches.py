"""What ComfyUI's nodes patch inside a transformer, on our MODEL: blocks, attention, positions; and U-Nets' patches."""

from typing import Any

import comfy_extras.nodes_freelunch as freelunch
import comfy_extras.nodes_hypertile as hypertile
import comfy_extras.nodes_lt as ltxv
import comfy_extras.nodes_model_downscale as downscale
import comfy_extras.nodes_nag as nag
import comfy_extras.nodes_pag as pag
import comfy_extras.nodes_rope as rope
import comfy_extras.nodes_sag as sag
import comfy_extras.nodes_slg as slg
import comfy_extras.nodes_tomesd as tomesd
import torch
from torch import Tensor

from .by_hand import (
    CFG,
    Case,
    Denoiser,
    Scenario,
    collect_remarks,
    combine,
    count_passes,
    denoise,
    make_case,
    refused,
    sample,
)
from .setting import pack


def without_block(i: int, block: Any, x: Tensor) -> Tensor:
    """The network without its second block."""
    return x if i == 1 else block(x)


def away_from(case: Case, scale: float, **perturbed: Any) -> Denoiser:
    """Guidance, and away from what a perturbed network makes of the prompt."""

    def denoiser(x: Tensor, sigma: float, step: int) -> Tensor:
        cond, uncond = (denoise(case, x, sigma, t) for t in (case.txt, case.negative))
        worse = denoise(case, x, sigma, case.txt, **perturbed)
        return uncond + CFG * (cond - uncond) + scale * (cond - worse)

    return denoiser


def skip_layer(case: Case, layers: str = "1") -> tuple[Any, Denoiser]:
    model = slg.SkipLayerGuidanceDiT.execute(case.model, 3.0, 0.0, 1.0, layers, "9", 0.0)[0]
    return model, away_from(case, 3.0, around_block=without_block)


def skip_layer_simple(case: Case) -> tuple[Any, Denoiser]:
    def denoiser(x: Tensor, sigma: float, step: int) -> Tensor:
        cond = denoise(case, x, sigma, case.txt)
        uncond = denoise(case, x, sigma, case.negative, around_block=without_block)
        return uncond + CFG * (cond - uncond)

    return slg.SkipLayerGuidanceDiTSimple.execute(case.model, 0.0, 1.0, "1", "")[0], denoiser


def spatio_temporal(case: Case, blocks: str = "0, 1") -> tuple[Any, Denoiser]:
    """Attention that gives each token its own value."""
    model = ltxv.LTXVSpatioTemporalGuidance.execute(case.model, 2.0, blocks, 0.0, 1.0)[0]
    return model, away_from(case, 2.0, attention=lambda q, k, v: v)


def normalized_attention(case: Case) -> tuple[Any, Denoiser]:
    """The video's tokens after attention: both branches go on from the prompt's, led away from the negative's."""
    plain, text = pack("flashvideo_core.attention").attention, case.txt.shape[1]

    def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = plain(q, k, v)
        video = out[:, :, text:].transpose(1, 2).flatten(2)
        positive, negative = video[:1], video[1:]
        led = 5 * positive - 4 * negative
        ratio = led.norm(p=1, dim=-1, keepdim=True) / positive.norm(p=1, dim=-1, keepdim=True)
        led = 0.5 * led * ratio.clamp(max=1.5) / ratio + 0.5 * positive
        led = led.unflatten(2, (-1, 64)).transpose(1, 2)
        return torch.cat([out[:, :, :text], led.expand(2, -1, -1, -1)], dim=2)

    def denoiser(x: Tensor, sigma: float, step: int) -> Tensor:
        both = torch.cat([case.txt, case.negative])
        cond, uncond = denoise(case, torch.cat([x, x]), sigma, both, attention=attention).chunk(2)
        return uncond + CFG * (cond - uncond)

    return nag.NAGuidance.execute(case.model, 5.0, 0.5, 1.5)[0], denoiser


def check_attention_guidance_says_when_it_sees_one_branch():
    case = make_case(2)
    case.model.model.memory_required = lambda *args, **kwargs: 1e15
    with collect_remarks() as said, count_passes(case.model) as passes:
        assert torch.equal(sample(case, nag.NAGuidance.execute(case.model, 5.0, 0.5, 1.5)[0]), sample(case, case.model))
    assert passes == [1] * 16
    assert len(said) == 1 and "changes nothing" in said[0]


def scale_rope(case: Case) -> tuple[Any, Denoiser]:
    """Half the distance from column to column, rows from 3 on, double time."""
    attention, text = pack("flashvideo_core.attention"), case.txt.shape[1]
    positions = [2.0 * torch.arange(4), torch.arange(4) + 3.0, torch.arange(4) / 2]
    angles = []
    for values, dim in zip(torch.meshgrid(positions, indexing="ij"), attention._AXIS_DIMS, strict=True):
        angles.append(values.reshape(-1, 1) * 10000.0 ** (-torch.arange(0, dim, 2) / dim))
    angles = torch.cat([torch.zeros(text, 32), torch.cat(angles, 1)])
    turned = combine(case, lambda x, c, u: u + CFG * (c - u), rope=torch.complex(angles.cos(), angles.sin()))
    return rope.ScaleROPE.execute(case.model, 0.5, 0.0, 1.0, 3.0, 2.0, 0.0)[0], turned


def deep_shrink(model: Any) -> Any:
    node = downscale.PatchModelAddDownscale
    return node.execute(model, 3, 2.0, 0.0, 0.35, True, "bicubic", "bicubic")


SCENARIOS: dict[str, Scenario] = {
    "Skip Layer Guidance (DiT)": skip_layer,
    "Skip Layer Guidance (DiT), no such block": lambda case: skip_layer(case, "7, 8, 9"),
    "Skip Layer Guidance (DiT, Simple)": skip_layer_simple,
    "LTXV Spatio-Temporal Guidance (STG)": spatio_temporal,
    "LTXV Spatio-Temporal Guidance (STG), no such block": lambda case: spatio_temporal(case, "29"),
    "Normalized Attention Guidance": normalized_attention,
    "ScaleROPE": scale_rope,
    "Perturbed-Attention Guidance": refused(lambda model: pag.PerturbedAttentionGuidance.execute(model, 3.0)),
    "Self-Attention Guidance": refused(lambda model: sag.SelfAttentionGuidance.execute(model, 0.5, 2.0)),
    "HyperTile": refused(lambda model: hypertile.HyperTile.execute(model, 256, 2, 0, False)),
    "Token Merging": refused(lambda model: tomesd.TomePatchModel.execute(model, 0.3)),
    "FreeU": refused(lambda model: freelunch.FreeU_V2.execute(model, 1.3, 1.4, 0.9, 0.2)),
    "PatchModelAddDownscale": refused(deep_shrink),
}
