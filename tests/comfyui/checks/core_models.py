"""ComfyUI's ModelSampling and merging nodes, masks and conditioning nodes on our MODEL."""

from collections.abc import Callable
from typing import Any

import comfy.controlnet
import comfy_extras.nodes_context_windows as context
import comfy_extras.nodes_custom_sampler as custom
import comfy_extras.nodes_differential_diffusion as differential
import comfy_extras.nodes_model_advanced as advanced
import comfy_extras.nodes_model_merging as merging
import torch
from torch import Tensor

from .by_hand import Case, Denoiser, Scenario, guided, make_case
from .setting import STAGE1, STAGE2, conditioning, load_stage, pack


def merge(case: Case) -> tuple[Any, Denoiser]:
    """Half of a model and half of one whose weights are 1.2 times as large."""
    other, by_hand = load_stage(STAGE1 if case.stage == 1 else STAGE2), make_case(case.stage)
    for p in other.model.diffusion_model.parameters():
        p.data *= 1.2
    for p in by_hand.dit.parameters():
        p.data *= 1.1
    return merging.ModelMergeSimple().merge(case.model, other, 0.5)[0], guided(by_hand)


def merge_other_stage(case: Case) -> tuple[Any, None]:
    """The embedded stages: of one width, but not of as many blocks."""
    folder = pack("flashvideo_core.components").TINY
    one, two = (load_stage(folder / f"stage{i}.safetensors") for i in (case.stage, 3 - case.stage))
    merged = merging.ModelMergeSimple().merge(one, two, 0.5)[0]
    return custom.BasicGuider.execute(merged, conditioning(torch.zeros(1, 8, 64)))[0], None


def model_sampling(node: Any, *args: Any) -> Scenario:
    return lambda case: (node().patch(case.model, *args)[0], guided(case))


def attached(**extras: Any) -> Scenario:
    """What a node puts into the conditioning."""

    def scenario(case: Case) -> tuple[Any, None]:
        case.extras.update(extras)
        return case.model, None

    return scenario


def windows(dim: int, fix: bool = False) -> Scenario:
    """Windows of a half and more, which overlap: the mean of both where they do."""

    def scenario(case: Case) -> tuple[Any, Denoiser]:
        size = case.z.shape[dim]
        length = size * 3 // 4 if dim == 2 else 6
        starts, overlap = (0, size - length), 2 * length - size
        options = {"fuse_method": "flat", "context_schedule": "standard_static", "causal_window_fix": fix}
        options |= {"context_stride": 1, "closed_loop": False, "freenoise": False}
        model = context.ContextWindowsManualNode.execute(case.model, length, overlap, dim=dim, **options)[0]

        def denoiser(x: Tensor, sigma: float, step: int) -> Tensor:
            total, count = torch.zeros_like(x), torch.zeros_like(x)
            for start in starts:
                first = max(0, start - fix)  # with the fix, one frame before the window, which is thrown away again
                part = guided(case)(x.narrow(dim, first, start + length - first), sigma, step)
                part = part.narrow(dim, start - first, length)
                total.narrow(dim, start, length).add_(part)
                count.narrow(dim, start, length).add_(1)
            return total / count

        return model, denoiser

    return scenario


def with_mask(patch: Callable[[Any], Any], mask_at: Callable[[Tensor, float], Tensor]) -> Scenario:
    """A mask that keeps some of the reference; mask_at(mask, sigma) is what counts at a sigma."""

    def scenario(case: Case) -> tuple[Any, Denoiser]:
        schedule, z = pack("flashvideo_core.schedule"), case.dit.config.latent_scale * case.z
        noised = schedule.add_noise(z, case.noise, float(schedule.zero_snr_sqrt_alphas()[675]))
        plain = guided(case)

        def denoiser(x: Tensor, sigma: float, step: int) -> Tensor:
            mask = mask_at(case.mask, sigma)
            x = mask * x + (1 - mask) * (sigma * noised + (1 - sigma) * z)
            return mask * plain(x, sigma, step) + (1 - mask) * z

        return patch(case.model), denoiser

    return scenario


def differential_mask(mask: Tensor, sigma: float) -> Tensor:
    """1 where the mask is at least the share of the time that is left."""
    last = 2.5 * 0.001 / (1 + 1.5 * 0.001)  # the least sigma of the flow's table
    return (mask >= (sigma - last) / (1 - last)).float()


SCENARIOS: dict[str, Scenario] = {
    "ModelSamplingDiscrete, v_prediction with zsnr": model_sampling(
        advanced.ModelSamplingDiscrete, "v_prediction", True
    ),
    "ModelSamplingDiscrete, eps": model_sampling(advanced.ModelSamplingDiscrete, "eps", False),
    "ModelSamplingDiscrete, lcm": model_sampling(advanced.ModelSamplingDiscrete, "lcm", False),
    "ModelSamplingDiscrete, x0": model_sampling(advanced.ModelSamplingDiscrete, "x0", False),
    "ModelSamplingSD3": model_sampling(advanced.ModelSamplingSD3, 3.0),
    "ModelSamplingFlux": model_sampling(advanced.ModelSamplingFlux, 1.15, 0.5, 1024, 1024),
    "ModelSamplingAuraFlow": model_sampling(advanced.ModelSamplingAuraFlow, 1.73, 1.0),
    "ModelSamplingContinuousEDM": model_sampling(advanced.ModelSamplingContinuousEDM, "v_prediction", 120.0, 0.002),
    "ModelSamplingContinuousV": model_sampling(advanced.ModelSamplingContinuousV, "v_prediction", 500.0, 0.03),
    "ModelNoiseScale": model_sampling(advanced.ModelNoiseScale, 2.0),
    "ModelMergeSimple": merge,
    "ModelMergeSimple, the other stage": merge_other_stage,
    "Apply ControlNet": attached(control=comfy.controlnet.ControlBase()),
    "ReferenceLatent": attached(reference_latents=[torch.zeros(1, 16, 1, 8, 8)]),
    "InpaintModelConditioning": attached(concat_latent_image=torch.zeros(1, 16, 1, 8, 8)),
    "Context Windows (Manual), time": windows(2),
    "Context Windows (Manual), time with causal_window_fix": windows(2, fix=True),
    "Context Windows (Manual), height": windows(3),
    "Context Windows (Manual), width": windows(4),
    "Context Windows (Manual), batch": windows(0),
    "Context Windows (Manual), width with causal_window_fix": windows(4, fix=True),
    "Set Latent Noise Mask": with_mask(lambda model: model, lambda mask, sigma: mask),
    "Differential Diffusion": with_mask(
        lambda model: differential.DifferentialDiffusion.execute(model)[0], differential_mask
    ),
}
