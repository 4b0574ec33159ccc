"""The two samplers: DPM-Solver++(2M) SDE in alpha space for stage 1, Euler on the flow for stage 2.

The loops (`dpmpp_2m_sde`, `euler_flow`) know no network; `sample_stage1` and `sample_stage2` wrap them
around one. The state is float32 and local. Source: golden README 3.7 and 3.8.
"""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from .attention import attention
from .errors import InputError
from .guidance import guidance_scale, guide, make_cond_uncond
from .schedule import (
    add_noise,
    check_noise_step,
    stage1_schedule,
    stage2_times,
    velocity_to_denoised,
    zero_snr_sqrt_alphas,
)


def dpmpp_2m_sde(
    denoise: Callable[[Tensor, int], Tensor],
    x: Tensor,
    sqrt_alphas: Tensor,
    draw_noise: Callable[[Tensor], Tensor],
    on_step: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Runs `denoise(x, i) -> clean latent` over sqrt_alphas [n + 1] (ascending, 0 ... 1).

    Draws one noise in the first step, two in each middle step (the first is thrown away, as released),
    none in the last, which returns the clean latent itself. `on_step(i, clean)` follows each evaluation.
    """
    a = [float(value) for value in sqrt_alphas]
    n, previous = len(a) - 1, None
    for i in range(n):
        clean = denoise(x, i)
        if on_step is not None:
            on_step(i, clean)
        if i == n - 1:
            return clean
        if i > 0:
            draw_noise(x)
        noise = draw_noise(x)
        h = _half_log_snr(a[i + 1]) - _half_log_snr(a[i])
        target = clean
        if i > 1:  # at i = 1 the step before was infinitely long, which makes the correction vanish
            r = (_half_log_snr(a[i]) - _half_log_snr(a[i - 1])) / h
            target = (1 + 1 / (2 * r)) * clean - 1 / (2 * r) * previous
        decay = math.sqrt((1 - a[i + 1] ** 2) / (1 - a[i] ** 2)) * math.exp(-h)
        fresh = math.sqrt(1 - a[i + 1] ** 2) * math.sqrt(1 - math.exp(-2 * h))
        x = decay * x - (math.exp(-2 * h) - 1) * a[i + 1] * target + fresh * noise
        previous = clean
    return x


def _half_log_snr(a: float) -> float:
    return -math.inf if a == 0 else math.log(a / math.sqrt(1 - a * a))


def euler_flow(
    velocity: Callable[[Tensor, float], Tensor],
    x: Tensor,
    times: Tensor,
    on_step: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Integrates dx/dt = velocity(x, t) over times [n + 1]; `on_step(i, estimate of x at t = 1)`."""
    grid = [float(t) for t in times]
    for i, (t, t_next) in enumerate(pairwise(grid)):
        v = velocity(x, t)
        if on_step is not None:
            on_step(i, x + (1 - t) * v)
        x = x + (t_next - t) * v
    return x


@torch.no_grad()
def sample_stage1(
    dit,
    noise: Tensor,
    txt: Tensor,
    steps: int = 51,
    cfg: float = 8.0,
    draw_noise: Callable[[Tensor], Tensor] = torch.randn_like,
    negative: Tensor | None = None,
    guidance: str = "released",
    callback: Callable | None = None,
    attention: Callable = attention,
    on_block: Callable[[int], None] | None = None,
    sequential: bool = False,
) -> Tensor:
    """Draws a draft: noise [B, 16, T, H, W] -> clean latent in VAE units, float32.

    txt and negative [B, L, text_dim]; negative None means zeros, as released. `draw_noise(x)` returns
    noise like x, called in the order of the released sampler. guidance: "released" or "constant".
    `attention` and `on_block` go to every call of the network; sequential evaluates the two branches of guidance one
    after the other, in half the memory. Raises ValueError for bad steps, guidance or weights.
    """
    timesteps, sqrt_alphas = stage1_schedule(steps)
    scale_of = guidance_scale(guidance)
    both = make_cond_uncond(network(dit, None, attention, on_block), txt, unconditional(txt, negative), sequential)

    def denoise(x: Tensor, i: int) -> Tensor:
        a = round_to_table_alpha(float(sqrt_alphas[i]))
        cond, uncond = (velocity_to_denoised(x, v, a) for v in both(x, timesteps[i]))
        return guide(cond, uncond, scale_of(cfg, timesteps[i], steps))

    scale = dit.config.latent_scale
    report = reporter("stage1", steps, scale, callback)
    return dpmpp_2m_sde(denoise, noise.float(), sqrt_alphas, draw_noise, report) / scale


@torch.no_grad()
def sample_stage2(
    dit,
    z_ref: Tensor,
    txt: Tensor,
    *,
    noise: Tensor,
    steps: int = 4,
    cfg: float = 13.0,
    shift: float = 2.5,
    ref_step: int = 675,
    negative: Tensor | None = None,
    callback: Callable | None = None,
    attention: Callable = attention,
    on_block: Callable[[int], None] | None = None,
    sequential: bool = False,
) -> Tensor:
    """Refines: reference latent [B, 16, T, H, W] in VAE units -> latent in VAE units, float32.

    The start is the reference mixed with noise at ref_step (0..999) of the zero-SNR table; from there the
    network's velocity leads to the clean latent in `steps` evaluations. Raises ValueError for bad steps,
    shift, ref_step or weights.
    """
    check_noise_step(ref_step)
    times = stage2_times(steps, shift)
    scale = dit.config.latent_scale
    both = make_cond_uncond(network(dit, ref_step, attention, on_block), txt, unconditional(txt, negative), sequential)
    x = add_noise(scale * z_ref.float(), noise.float(), zero_snr_sqrt_alphas()[ref_step])

    def velocity(x: Tensor, t: float) -> Tensor:
        return guide(*both(x, 1000 - 1000 * t), cfg)

    return euler_flow(velocity, x, times, reporter("stage2", steps, scale, callback)) / scale


def network(dit, ref_step: int | None, attention: Callable, on_block: Callable | None) -> Callable:
    """dit as model(x, timestep, txt) on float32 latents; refuses an output that is not finite."""
    dtype = dit.patch_embed.weight.dtype

    def model(x: Tensor, timestep: Tensor, txt: Tensor) -> Tensor:
        out = dit(x.to(dtype), timestep, txt, ref_step, attention=attention, on_block=on_block).float()
        check_finite(out, dtype)
        return out

    return model


def check_finite(out: Tensor, dtype: torch.dtype) -> None:
    """Raises ValueError for NaN or infinity: broken weights, or a dtype or kernel that overflows."""
    if not torch.isfinite(out).all():
        raise InputError(
            f"the network returned NaN or infinity in {dtype}: the weights are damaged, "
            "or this precision or attention kernel does not suit them (try bf16 or fp32)"
        )


def unconditional(txt: Tensor, negative: Tensor | None) -> Tensor:
    """The negative embedding, zeros when none is given, with txt's batch."""
    if negative is None:
        return torch.zeros_like(txt)
    return negative.expand_as(txt) if negative.shape[0] == 1 else negative


def round_to_table_alpha(a: float) -> float:
    """The entry of the 1000-entry table next to a: the released code forms the clean latent with it."""
    table = zero_snr_sqrt_alphas()
    return float(table[(table - a).abs().argmin()])


def reporter(phase: str, steps: int, scale: float, callback: Callable | None) -> Callable | None:
    """on_step of the loops as the public callback; the preview is the estimate in VAE units."""
    if callback is None:
        return None
    return lambda i, clean: callback(phase, i + 1, steps, lambda: clean / scale)


def make_draw_noise(seed: int, count: int = 1) -> Callable[[Tensor], Tensor]:
    """draw(x) for a batch of `count`: item i comes from its own generator seeded with seed + i.

    Noise is float32 on the CPU in [1, 16, T, H, W] order, then moved: a draft of a batch equals the same
    draft made alone, on every device.
    """
    generators = [torch.Generator().manual_seed((seed + i) % 2**64) for i in range(count)]

    def draw(x: Tensor) -> Tensor:
        drawn = [torch.randn(1, *x.shape[1:], generator=g) for g in generators]
        return torch.cat(drawn).to(x.device)

    return draw
