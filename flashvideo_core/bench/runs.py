"""A workload as a function with its inputs, on random weights: what a worker calls and measures."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ..attention import attention
from ..components import Pipeline
from ..dit import Transformer
from ..pipeline import generate
from ..sampling import make_draw_noise, sample_stage1, sample_stage2
from ..windows import Grid, Window, bind_window
from .networks import build_network, cut_corner, cut_one_group, make_inputs, make_text
from .process import OURS, WINDOWS
from .sizes import NETWORKS, Latent, Size, frame_size
from .variants import Variant

Forward = Callable[..., Tensor]
"""One pass of a network; takes what `make_inputs` gives, positionally."""

FindForward = Callable[[str, nn.Module, str], tuple[Forward, Forward]]
"""find_forward(workload, our network, implementation) -> (as shipped, in one temporal group). See `our_forward`."""


@dataclass(frozen=True)
class Run:
    """`function(*inputs)` is measured. `check`, where there is one, gives an output that every implementation must
    agree on."""

    function: Forward
    inputs: tuple
    check: Callable[[], Tensor] | None = None

    def __call__(self) -> Tensor:
        return self.function(*self.inputs)


def our_forward(workload: str, network: nn.Module, implementation: str) -> tuple[Forward, Forward]:
    """Our own network's pass; benchmarks/peers.py has the same of other implementations."""
    forward = getattr(network, {"vae-decode": "decode", "vae-encode": "encode", "dit": "forward"}[workload])
    return forward, forward


def prepare_run(
    find_forward: FindForward, workload: str, size: Size, implementation: str, device: torch.device, dtype: torch.dtype
) -> Run:
    """The workload with its networks on the device, warmed up on small inputs."""
    if workload == "end-to-end":
        return _prepare_clip(size, device, dtype)
    if workload not in NETWORKS:
        return _prepare_sampler(workload, size, implementation, device, dtype)
    network = build_network(workload, size).to(device, dtype)
    if implementation == WINDOWS:
        forward = forward_group = partial(forward_windows, network, size.window)
    else:
        forward, forward_group = find_forward(workload, network, implementation)
    inputs = tuple(x.to(device, dtype) for x in make_inputs(workload, size))
    forward(*cut_corner(workload, inputs))
    return Run(forward, inputs, lambda: forward_group(*cut_one_group(workload, inputs)))


def forward_windows(network: Transformer, window: Window, x: Tensor, timestep: Tensor, txt: Tensor) -> Tensor:
    """A pass with attention over windows, whose grid is that of the inputs."""
    grid = Grid.of(x, txt, network.config.patch)
    return network(x, timestep, txt, attention=bind_window(attention, grid, window, x.device))


def _prepare_sampler(workload: str, size: Size, implementation: str, device: torch.device, dtype: torch.dtype) -> Run:
    """stage1 or stage2 from a latent (the noise, the reference) and text to a latent; both branches in one batch.

    implementation: "ours", or of stage2 the name of a variant (variants.py).
    """
    dit = build_network(workload, size).to(device, dtype)
    inputs = tuple(x.to(device) for x in make_inputs(workload, size))

    def stage1(noise: Tensor, txt: Tensor) -> Tensor:
        return sample_stage1(dit, noise, txt, size.steps[0], draw_noise=make_draw_noise(2))

    def stage2(z_ref: Tensor, txt: Tensor) -> Tensor:
        return sample_stage2(dit, z_ref, txt, noise=make_draw_noise(2)(z_ref), steps=size.steps[1])

    def variant(z_ref: Tensor, txt: Tensor) -> Tensor:
        return Variant.parse(implementation).sample(dit, z_ref, txt, size)

    sample = variant if implementation != OURS else stage1 if workload == "stage1" else stage2
    sample(*cut_corner(workload, inputs))
    return Run(sample, inputs)


def _prepare_clip(size: Size, device: torch.device, dtype: torch.dtype) -> Run:
    """From text embeddings to frames, one model on the device at a time; given the latents of draft and clip."""
    stage1, stage2, vae = (build_network(name, size).to(dtype) for name in ("stage1", "stage2", "vae-decode"))
    txt = {"stage1": make_text(size.stage1), "stage2": make_text(size.stage2)}
    pipe = Pipeline(stage1, stage2, vae, None, txt, device, dtype)

    def make_clip(draft: Latent, clip: Latent) -> Tensor:
        height, width = frame_size(draft)
        options = {"frames": 4 * draft[0] - 3, "height": height, "width": width, "size": frame_size(clip)}
        return generate(pipe, "", **options, steps=size.steps[0], refine_steps=size.steps[1]).frames

    make_clip((1, 4, 4), (1, 4, 4))
    return Run(make_clip, (size.draft_latent, size.clip_latent))
