"""Sampling written out by hand around the core's network, to compare ComfyUI's nodes on our MODEL with.

Nothing of the bridge is used: the network is the core's, the schedules are ComfyUI's numbers, the loop is Euler's.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from unittest import mock

import comfy.sample
import comfy.samplers
import torch
from torch import Tensor

from .setting import STAGE1, STAGE2, conditioning, load_stage, pack

STEPS, CFG, SEED = 4, 5.0, 7
SHAPE = (1, 16, 4, 8, 8)  # not 2 x 10 tokens of text in any axis


@dataclass(frozen=True)
class Case:
    """A stage with inputs: its MODEL, text embeddings, reference and noise (in VAE units), the core's network."""

    stage: int
    model: Any
    dit: Any
    txt: Tensor
    negative: Tensor
    z: Tensor
    noise: Tensor
    mask: Tensor | None  # noise_mask [1, 1, T, H, W]
    extras: dict[str, Any]  # what a scenario puts into the prompt's conditioning

    @property
    def flow(self) -> bool:
        return self.stage == 2

    @property
    def sigmas(self) -> Tensor:
        return comfy.samplers.calculate_sigmas(self.model.get_model_object("model_sampling"), "simple", STEPS)


def make_case(stage: int, masked: bool = False) -> Case:
    path = STAGE1 if stage == 1 else STAGE2
    g = torch.Generator().manual_seed(11)
    txt, negative = (torch.randn(1, 10, 32, generator=g) for _ in range(2))
    z = torch.zeros(SHAPE) if stage == 1 else torch.randn(SHAPE, generator=g)
    dit = pack("flashvideo_core.checkpoint").load_transformer(path)
    noise, mask = comfy.sample.prepare_noise(z, SEED), None
    if masked:
        mask = torch.linspace(0, 1, SHAPE[-1]).expand(1, 1, *SHAPE[2:])
    return Case(stage, load_stage(path), dit, txt, negative, z, noise, mask, {})


def sample(case: Case, model: Any, sampler: str = "euler") -> Tensor:
    """ComfyUI's KSampler, or SamplerCustomAdvanced if model is a GUIDER; the result in the model's own units."""
    if isinstance(model, comfy.samplers.CFGGuider):
        args = (case.noise, case.z, comfy.samplers.ksampler(sampler), case.sigmas, case.mask)
        return model.sample(*args, disable_pbar=True, seed=SEED) * case.dit.config.latent_scale
    positive, negative = [[case.txt, case.extras]], conditioning(case.negative)
    args = (model, case.noise, STEPS, CFG, sampler, "simple", positive, negative)
    out = comfy.sample.sample(*args, case.z, noise_mask=case.mask, disable_pbar=True, seed=SEED)
    return out * case.dit.config.latent_scale


@contextmanager
def count_passes(model: Any) -> Iterator[list[int]]:
    """How often the network of a MODEL or GUIDER is evaluated meanwhile: the items of each batch."""
    model, counted, hooks = getattr(model, "model_patcher", model), [], []
    for patcher in (model, *model.get_additional_models_with_key("multigpu")):
        embedder = patcher.model.diffusion_model.time_embed
        hooks.append(embedder.register_forward_pre_hook(lambda module, args: counted.append(args[0].shape[0])))
    try:
        yield counted
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def collect_remarks() -> Iterator[list[str]]:
    """What is said under the node meanwhile."""
    said: list[str] = []
    with mock.patch.object(pack("nodes.bridge.suitability"), "notify", lambda text, node_id: said.append(text)):
        yield said


@contextmanager
def count_calls(model: Any) -> Iterator[list[int]]:
    """The same at the network's door, for a compiled one, whose graph may have been made without hooks."""
    counted, apply_model = [], model.model.apply_model

    def counting(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        counted.append(x.shape[0])
        return apply_model(x, *args, **kwargs)

    with mock.patch.object(model.model, "apply_model", counting):
        yield counted


def predict(case: Case, x: Tensor, sigma: float, txt: Tensor, **options: Any) -> Tensor:
    """The network at a ComfyUI sigma on ComfyUI's state: v of stage 1, the velocity towards noise of stage 2."""
    if case.flow:
        return -case.dit(x, torch.tensor([1000 * sigma]), txt, 675, **options)
    t = case.model.get_model_object("model_sampling").timestep(torch.tensor([sigma])).float()
    return case.dit(x / (1 + sigma**2) ** 0.5, t, txt, **options)


def to_denoised(case: Case, x: Tensor, sigma: float, out: Tensor) -> Tensor:
    if case.flow:
        return x - sigma * out
    return x / (1 + sigma**2) - out * sigma / (1 + sigma**2) ** 0.5


def denoise(case: Case, x: Tensor, sigma: float, txt: Tensor, **options: Any) -> Tensor:
    return to_denoised(case, x, sigma, predict(case, x, sigma, txt, **options))


def start(case: Case) -> Tensor:
    """The state at the first sigma."""
    schedule = pack("flashvideo_core.schedule")
    if case.flow:
        reference = case.dit.config.latent_scale * case.z
        return schedule.add_noise(reference, case.noise, float(schedule.zero_snr_sqrt_alphas()[675]))
    return case.noise * (1 + case.sigmas[0] ** 2).sqrt()


Denoiser = Callable[[Tensor, float, int], Tensor]
"""(state, sigma, step) -> denoised."""


Scenario = Callable[[Case], tuple[Any, Denoiser | None]]
"""case -> (patched MODEL, the denoiser that this should amount to; None where the node is refused)."""


def refused(patch: Callable[[Any], tuple[Any]]) -> Scenario:
    """The scenario of a node, patch(MODEL) -> (MODEL,), that does not suit."""
    return lambda case: (patch(case.model)[0], None)


def euler(case: Case, denoiser: Denoiser) -> Tensor:
    x = start(case)
    for step, (sigma, following) in enumerate(pairwise(case.sigmas.tolist())):
        denoised = denoiser(x, sigma, step)
        x = x + (x - denoised) / sigma * (following - sigma)
    return x


def guided(case: Case, cfg: float = CFG) -> Denoiser:
    """Plain classifier-free guidance."""
    return combine(case, lambda x, cond, uncond: uncond + cfg * (cond - uncond))


def combine(case: Case, rule: Callable[[Tensor, Tensor, Tensor], Tensor], **options: Any) -> Denoiser:
    """A rule (state, cond, uncond) -> denoised on both denoised branches."""

    def denoiser(x: Tensor, sigma: float, step: int) -> Tensor:
        return rule(x, denoise(case, x, sigma, case.txt, **options), denoise(case, x, sigma, case.negative, **options))

    return denoiser
