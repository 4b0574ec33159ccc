"""The two samplers: from text and noise to a latent, and from a reference latent to a latent.

Each wraps a loop of solvers.py around a network; the state is float32. Source: docs/released-model.md 3.7, 3.8.
"""

import torch
from torch import Tensor

from .attention import attention
from .dit import Transformer
from .errors import InputError
from .guidance import apply_cfg, find_cfg_schedule, make_branches, make_cond_uncond, round_cfg
from .latent_windows import LatentWindows, bind_latent_windows
from .schedule import (
    add_noise,
    check_noise_step,
    stage1_schedule,
    stage2_times,
    velocity_to_denoised,
    zero_snr_sqrt_alphas,
)
from .solvers import OnState, SolverState, dpmpp_2m_sde, euler_flow
from .step_cache import cache_steps
from .types import AttentionFn, DrawNoise, GuidedModel, Model, OnBlock, OnPass, OnStep, ProgressCallback
from .windows import Grid, Window, bind_window


@torch.no_grad()
def sample_stage1(
    dit: Transformer,
    noise: Tensor,
    txt: Tensor,
    steps: int = 51,
    cfg: float = 8.0,
    draw_noise: DrawNoise = torch.randn_like,
    negative: Tensor | None = None,
    guidance: str = "released",
    callback: ProgressCallback | None = None,
    attention: AttentionFn = attention,
    on_block: OnBlock | None = None,
    sequential: bool = False,
    cfg_epsilon: float = 0.0,
    cache: float = 0.0,
    on_pass: OnPass | None = None,
    resume: SolverState | None = None,
    on_state: OnState | None = None,
) -> Tensor:
    """Makes a draft: noise [B, 16, T, H, W] -> clean latent in VAE units, float32.

    txt and negative [B, L, text_dim]; negative None means zeros, as released. `draw_noise(x)` returns
    noise like x, called in the order of the released sampler. guidance: "released" or "constant".
    `attention` and `on_block` go to every call of the network; sequential evaluates the two branches of guidance one
    after the other, in half the memory. A scale within cfg_epsilon of 1 is taken as 1, which needs one branch. Up to a
    relative change of `cache` evaluations are saved (step_cache.py; 0: none). on_pass follows those that are made.
    resume and on_state: as of solvers.py; what the cache holds is not in a state. Raises InputError for bad steps,
    guidance or weights.
    """
    timesteps, sqrt_alphas = stage1_schedule(steps)
    cfg_schedule = find_cfg_schedule(guidance)
    model = bind_options(dit, None, attention, on_block)
    branches = make_branches(model, txt, expand_negative(txt, negative), sequential, on_pass)
    evaluate = make_cond_uncond(cache_steps(branches, cache) if cache else branches)

    def denoise(x: Tensor, i: int) -> Tensor:
        a = round_to_table_alpha(float(sqrt_alphas[i]))
        cfg_now = round_cfg(cfg_schedule(cfg, timesteps[i], steps), cfg_epsilon)
        velocities = evaluate(x, timesteps[i], cfg_now)
        cond, uncond = (None if v is None else velocity_to_denoised(x, v, a) for v in velocities)
        return apply_cfg(cond, uncond, cfg_now)

    scale = dit.config.latent_scale
    on_step = report_steps("stage1", steps, scale, callback)
    return dpmpp_2m_sde(denoise, noise.float(), sqrt_alphas, draw_noise, on_step, resume, on_state) / scale


@torch.no_grad()
def sample_stage2(
    dit: Transformer,
    z_ref: Tensor | None,
    txt: Tensor,
    *,
    noise: Tensor | None,
    steps: int = 4,
    cfg: float = 13.0,
    shift: float = 2.5,
    ref_step: int = 675,
    negative: Tensor | None = None,
    callback: ProgressCallback | None = None,
    attention: AttentionFn = attention,
    on_block: OnBlock | None = None,
    sequential: bool = False,
    guided_evaluations: int = 0,
    on_pass: OnPass | None = None,
    window: Window | None = None,
    dense_evaluations: int = 0,
    latent_windows: LatentWindows | None = None,
    resume: SolverState | None = None,
    on_state: OnState | None = None,
) -> Tensor:
    """Refines: reference latent [B, 16, T, H, W] in VAE units -> latent in VAE units, float32.

    The start is the reference mixed with noise at ref_step (0..999) of the zero-SNR table; from there the
    network's velocity leads to the clean latent in `steps` evaluations. Of these the first guided_evaluations (0: all)
    have guidance, the others the conditional branch alone; with a window all but the first dense_evaluations have
    attention over windows (windows.py). latent_windows: what the network sees at once; where there are several, z_ref
    may be on the host while txt and the network are on a device. resume and on_state: as of solvers.py; with a state to
    resume z_ref and noise are not needed. Raises InputError for bad steps, shift, ref_step or weights.
    """
    check_noise_step(ref_step)
    times = stage2_times(steps, shift)
    scale = dit.config.latent_scale
    guided_until = float(times[min(guided_evaluations or steps, steps)])
    dense_until = float(times[min(dense_evaluations, steps)])
    if resume is None:
        x = add_noise(scale * z_ref.float(), noise.float(), float(zero_snr_sqrt_alphas()[ref_step]))
        resume = SolverState(0, x)

    def bind(window: Window | None) -> GuidedModel:
        model = bind_options(dit, ref_step, attention, on_block, window)
        return make_cond_uncond(make_branches(model, txt, expand_negative(txt, negative), sequential, on_pass))

    dense, windowed = bind(None), bind(window)

    def velocity(x: Tensor, t: float) -> Tensor:
        cfg_now = cfg if t < guided_until else 1.0
        evaluate = dense if t < dense_until else windowed
        return apply_cfg(*evaluate(x, 1000 - 1000 * t, cfg_now), cfg_now)

    count = 1 if latent_windows is None else latent_windows.count(tuple(resume.x.shape[2:]))
    if count > 1:
        velocity = bind_latent_windows(velocity, times, latent_windows, txt.device, callback)
    on_step = report_steps("stage2", steps, scale, callback, count)
    return euler_flow(velocity, resume.x, times, on_step, resume, on_state) / scale


def bind_options(
    dit: Transformer,
    ref_step: int | None,
    attention: AttentionFn,
    on_block: OnBlock | None,
    window: Window | None = None,
) -> Model:
    """dit on float32 latents, whatever its dtype, with attention over windows if there is one.

    The model raises InputError for an output that is not finite.
    """
    dtype = dit.patch_embed.weight.dtype

    def model(x: Tensor, timestep: Tensor, txt: Tensor) -> Tensor:
        attend = attention
        if window is not None:
            attend = bind_window(attention, Grid.of(x, txt, dit.config.patch), window, x.device)
        out = dit(x.to(dtype), timestep, txt, ref_step, attention=attend, on_block=on_block).float()
        check_finite(out, dtype)
        return out

    return model


def check_finite(out: Tensor, dtype: torch.dtype) -> None:
    """Raises InputError for NaN or infinity: broken weights, or a dtype or kernel that overflows."""
    if not torch.isfinite(out).all():
        raise InputError(
            f"the network returned NaN or infinity in {dtype}: the weights are damaged, "
            "or this precision or attention kernel does not suit them (try bf16 or fp32)"
        )


def expand_negative(txt: Tensor, negative: Tensor | None) -> Tensor:
    """The text embedding of the unconditional branch, like txt [B, L, text_dim]: zeros, or negative [1 or B, ...]."""
    if negative is None:
        return torch.zeros_like(txt)
    return negative.expand_as(txt) if negative.shape[0] == 1 else negative


def round_to_table_alpha(a: float) -> float:
    """The entry of the 1000-entry table next to a, with which the released code forms the denoised latent."""
    table = zero_snr_sqrt_alphas()
    return float(table[(table - a).abs().argmin()])


def report_steps(
    phase: str, steps: int, scale: float, callback: ProgressCallback | None, windows: int = 1
) -> OnStep | None:
    """The callback as on_step of a sampler; the preview is the denoised latent in VAE units. Each window is a step."""
    if callback is None:
        return None
    return lambda i, denoised: callback(phase, windows * (i + 1), windows * steps, lambda: denoised / scale)


def make_draw_noise(seed: int, count: int = 1) -> DrawNoise:
    """draw_noise(x) for a batch of `count`: item i comes from its own generator seeded with seed + i.

    Noise is float32 on the CPU in [1, 16, T, H, W] order, then moved: a draft of a batch equals the same
    draft made alone, on every device.
    """
    generators = [torch.Generator().manual_seed((seed + i) % 2**64) for i in range(count)]

    def draw_noise(x: Tensor) -> Tensor:
        noise = [torch.randn(1, *x.shape[1:], generator=g) for g in generators]
        return torch.cat(noise).to(x.device)

    return draw_noise
