"""The samplers and the whole path as a user runs them, on random weights: (run, inputs, inputs of a warm-up)."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..components import Pipeline
from ..pipeline import generate
from ..sampling import make_draw_noise, sample_stage1, sample_stage2
from .sizes import Latent, Size, build_network, make_inputs, random_text, warm_inputs


def sampler(part: str, size: Size, device: torch.device, dtype: torch.dtype) -> tuple[Callable, tuple, tuple]:
    """stage1 or stage2 from a latent (the noise, the reference) and text to a latent; both branches in one batch."""
    dit, inputs = build_network(part, size).to(device, dtype), tuple(x.to(device) for x in make_inputs(part, size))

    def stage1(noise: Tensor, txt: Tensor) -> Tensor:
        return sample_stage1(dit, noise, txt, size.steps[0], draw_noise=make_draw_noise(2))

    def stage2(z_ref: Tensor, txt: Tensor) -> Tensor:
        return sample_stage2(dit, z_ref, txt, noise=make_draw_noise(2)(z_ref), steps=size.steps[1])

    return stage1 if part == "stage1" else stage2, inputs, warm_inputs(part, inputs)


def whole_clip(size: Size, device: torch.device, dtype: torch.dtype) -> tuple[Callable, tuple, tuple]:
    """From text embeddings to frames, one model on the device at a time; given the latents of draft and clip."""
    stage1, stage2, vae = (build_network(part, size).to(dtype) for part in ("stage1", "stage2", "vae-decode"))
    txt = {"stage1": random_text(size.stage1), "stage2": random_text(size.stage2)}
    pipe = Pipeline(stage1, stage2, vae, None, txt, device, dtype)

    def run(draft: Latent, clip: Latent) -> Tensor:
        (height, width), target = pixels(draft), pixels(clip)
        steps = {"steps": size.steps[0], "refine_steps": size.steps[1]}
        return generate(pipe, "", frames=4 * draft[0] - 3, height=height, width=width, size=target, **steps).frames

    return run, (size.draft, size.tokens), ((1, 4, 4), (1, 4, 4))


def pixels(latent: Latent) -> tuple[int, int]:
    return 8 * latent[1], 8 * latent[2]
