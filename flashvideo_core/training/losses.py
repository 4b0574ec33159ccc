"""Training losses. They use the samplers' own schedule and path functions, so one inverts the other.

Source: arXiv 2502.05179, section 3. Axes: B batch, T latent frames, H and W latent rows and columns, L text tokens.
"""

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ..config import VAEConfig
from ..schedule import NUM_TRAIN_TIMESTEPS, add_noise, shift_times, velocity, zero_snr_sqrt_alphas
from ..sizes import latent_size
from ..small_decoder import START, SmallDecoder
from ..types import Model
from ..vae import VAE, decode_groups, sample_posterior
from ..vae_layers import Cache

ALL_ITEMS = slice(None)
EDGE_FLOOR = 1e-4  # below the squared noise of a latent; it keeps the root's gradient finite


class Stage2Model(Protocol):
    """Stage 2's transformer, called with the noise step of its reference."""

    def __call__(self, x: Tensor, timestep: Tensor, txt: Tensor, ref_step: int, /) -> Tensor:
        """x [B, 16, T, H, W] scaled and noised, timestep [B], txt [B, L, text_dim] -> velocity like x."""


AutoEncode = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""network(frames, noise) -> frames, moments: `autoencode` of a VAE."""


def stage1_loss(
    model: Model,
    z: Tensor,
    txt: Tensor,
    generator: torch.Generator,
    items: slice = ALL_ITEMS,
    noisy_share: float = 0.0,
) -> Tensor:
    """v-prediction with zero terminal SNR. z [B, 16, T, H, W], already times the latent scale; txt [B, L, text_dim].

    items: those of the batch that this process computes (distributed.py); what is drawn for them is as in the whole
    batch. noisy_share: the share of items whose step is drawn from the noisiest two fifths alone, where text decides
    what a clip shows; 0 draws all of them uniformly, as the paper does.
    """
    step = torch.randint(NUM_TRAIN_TIMESTEPS, (z.shape[0],), generator=generator)
    if noisy_share:
        late = torch.rand(z.shape[0], generator=generator) < noisy_share
        step = torch.where(late, (3 * NUM_TRAIN_TIMESTEPS + 2 * step) // 5, step)
    noise = draw_noise(z, generator)
    z, txt, step, noise = z[items], txt[items], step[items], noise[items]
    sqrt_alpha = _expand_per_item(zero_snr_sqrt_alphas()[step], z)
    out = model(add_noise(z, noise, sqrt_alpha), step.float().to(z.device), txt)
    return F.mse_loss(out.float(), velocity(z, noise, sqrt_alpha))


def stage2_loss(
    model: Stage2Model,
    z: Tensor,
    z_ref: Tensor,
    txt: Tensor,
    ref_step: int,
    generator: torch.Generator,
    items: slice = ALL_ITEMS,
    shift: float = 1.0,
) -> Tensor:
    """Flow matching from the noised, degraded reference to the clean latent, t ~ U(0, 1).

    z and z_ref [B, 16, T, H, W], already times the latent scale; ref_step is the noise step of the batch, 0..999;
    txt and items as in stage 1. shift: the sampler's draws t towards the times of its few evaluations; 1 leaves t
    uniform, as in the paper.
    """
    noise = draw_noise(z, generator)
    t = torch.rand(z.shape[0], generator=generator)
    if shift != 1:
        t = shift_times(t, shift)
    z, z_ref, txt, noise, t = z[items], z_ref[items], txt[items], noise[items], t[items].to(z.device)
    start = add_noise(z_ref, noise, zero_snr_sqrt_alphas()[ref_step])
    x = torch.lerp(start, z, _expand_per_item(t, z))
    out = model(x, NUM_TRAIN_TIMESTEPS * (1 - t), txt, ref_step)
    return F.mse_loss(out.float(), z - start)


def distill_loss(
    model: Stage2Model,
    start: Tensor,
    end: Tensor,
    times: tuple[Tensor, Tensor],
    txt: Tensor,
    ref_step: int,
    edges: float = 0.0,
) -> Tensor:
    """The student's one conditional evaluation against the mean velocity of its teacher between two states.

    start and end [B, 16, T, H, W] are the teacher's states, scaled, at times [B] each, so a velocity that is met leads
    from one to the other in one Euler step, guidance included. edges: the weight of the error in edge strength, which
    holds up what the mean square alone blurs: an edge in doubt costs least where it is faint.
    """
    t, duration = times[0], _expand_per_item(times[1] - times[0], start)
    out = model(start, NUM_TRAIN_TIMESTEPS * (1 - t), txt, ref_step).float()
    loss = F.mse_loss(out, (end - start) / duration)
    if edges:
        loss = loss + edges * F.mse_loss(measure_edges(start + duration * out), measure_edges(end))
    return loss


def measure_edges(z: Tensor) -> Tensor:
    """How steep a latent [B, 16, T, H, W] is at each place: [B, 16, T, H - 1, W - 1], without a direction."""
    rows, columns = z[..., 1:, :-1] - z[..., :-1, :-1], z[..., :-1, 1:] - z[..., :-1, :-1]
    return (rows.square() + columns.square() + EDGE_FLOOR).sqrt()


def draw_noise(like: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal noise of a tensor's shape, where it is: elsewhere than on a CPU from a generator of the device's,
    whose seed is drawn. A CPU draws a batch for a GPU in more time than the GPU takes for the step."""
    if like.device.type != "cpu":
        seed = int(torch.randint(2**62, (), generator=generator))
        generator = torch.Generator(like.device).manual_seed(seed)
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)


def drop_text(txt: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Zeroes the whole embedding of some items: what guidance later uses as the unconditional branch."""
    keep = torch.rand(txt.shape[0], generator=generator) >= probability
    return txt * keep.to(txt)[:, None, None]


def autoencode(vae: VAE, frames: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """frames [B, 3, 4n+1, H, W] in -1..1 and noise like their latent -> the VAE's frames, and the posterior's moments.

    Goes through the decoder in its temporal groups, with their caches, as decoding does.
    """
    moments = vae.encoder(frames, {}).float()
    z = sample_posterior(moments, lambda mean: noise)
    cache: Cache = {}
    groups = enumerate(decode_groups(z.shape[2]))
    out = torch.cat([vae.decoder(z[:, :, a:b], cache, first=i == 0) for i, (a, b) in groups], dim=2).float()
    return out, moments


def vae_loss(
    network: AutoEncode, frames: Tensor, generator: torch.Generator, kl: float = 1e-4, edges: float = 0.5
) -> Tensor:
    """L1 of the pixels and of their spatial gradients, and a weak KL. frames [B, 3, 4n+1, H, W] in -1..1."""
    shape = (VAEConfig.latent_channels, *latent_size(*frames.shape[2:]))
    out, moments = network(frames, draw_noise(frames.new_empty(len(frames), *shape), generator))
    mean, logvar = moments.chunk(2, dim=1)
    divergence = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
    return F.l1_loss(out, frames) + edges * _gradient_l1(out, frames) + kl * divergence


def decoder_loss(decoder: SmallDecoder, z: Tensor, frames: Tensor, edges: float = 0.5) -> Tensor:
    """L1 of the pixels and of their spatial gradients. z [B, 16, T, h, w] in VAE units, frames [B, 3, 4T-3, 8h, 8w] in
    -1..1: what the whole decoder shows of it."""
    out = 2 * decoder(z, {})[:, :, START:].float() - 1
    return F.l1_loss(out, frames) + edges * _gradient_l1(out, frames)


def _gradient_l1(a: Tensor, b: Tensor) -> Tensor:
    """L1 between the horizontal and between the vertical differences of neighbouring pixels."""
    return sum(F.l1_loss(a.diff(dim=dim), b.diff(dim=dim)) for dim in (-1, -2))


def _expand_per_item(values: Tensor, like: Tensor) -> Tensor:
    """values [B] as [B, 1, ..., 1], to be multiplied with `like` [B, ...]."""
    return values.to(like).view(-1, *[1] * (like.ndim - 1))
