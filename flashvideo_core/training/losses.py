"""Training losses. They use the samplers' own schedule and path functions, so one inverts the other.

Source: FlashVideo paper, section 3; reference/paper.md for the numbers.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..schedule import NUM_TRAIN_TIMESTEPS, add_noise, velocity, zero_snr_sqrt_alphas
from ..vae import VAE, decode_groups, sample_posterior

EVERY_ROW = slice(None)


def stage1_loss(
    model: Callable,
    z: Tensor,
    txt: Tensor,
    generator: torch.Generator,
    rows: slice = EVERY_ROW,
    noisy: float = 0.0,
) -> Tensor:
    """v-prediction with zero terminal SNR. z [B, 16, T, H, W], already times the latent scale.

    rows: the items of the batch that this process computes (distributed.py); their draws are those of the whole batch.
    noisy: the share of items whose step is drawn from the noisiest two fifths alone, where text decides what a clip
    shows; 0 draws all of them uniformly, as the paper does.
    """
    step = torch.randint(NUM_TRAIN_TIMESTEPS, (z.shape[0],), generator=generator)
    if noisy:
        late = torch.rand(z.shape[0], generator=generator) < noisy
        step = torch.where(late, (3 * NUM_TRAIN_TIMESTEPS + 2 * step) // 5, step)
    noise = torch.randn(z.shape, generator=generator)
    z, txt, step, noise = z[rows], txt[rows], step[rows], noise[rows].to(z.device)
    a = _per_item(zero_snr_sqrt_alphas()[step], z)
    out = model(add_noise(z, noise, a), step.float().to(z.device), txt)
    return F.mse_loss(out.float(), velocity(z, noise, a))


def stage2_loss(
    model: Callable,
    z: Tensor,
    z_ref: Tensor,
    txt: Tensor,
    ref_step: int,
    generator: torch.Generator,
    rows: slice = EVERY_ROW,
) -> Tensor:
    """Flow matching from the noised, degraded reference to the clean latent, t ~ U(0, 1).

    z and z_ref [B, 16, T, H, W], already times the latent scale; ref_step is the noise step of the batch; rows as
    in stage 1.
    """
    noise = torch.randn(z.shape, generator=generator)
    t = torch.rand(z.shape[0], generator=generator)
    z, z_ref, txt, noise, t = z[rows], z_ref[rows], txt[rows], noise[rows].to(z.device), t[rows].to(z.device)
    start = add_noise(z_ref, noise, zero_snr_sqrt_alphas()[ref_step])
    x = torch.lerp(start, z, _per_item(t, z))
    out = model(x, NUM_TRAIN_TIMESTEPS * (1 - t), txt, ref_step)
    return F.mse_loss(out.float(), z - start)


def drop_text(txt: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Zeroes the whole embedding of some items: what guidance later uses as the unconditional branch."""
    keep = torch.rand(txt.shape[0], generator=generator) >= probability
    return txt * keep.to(txt)[:, None, None]


def vae_loss(vae: VAE, frames: Tensor, generator: torch.Generator, kl: float = 1e-4, edges: float = 0.5) -> Tensor:
    """L1 of the pixels and of their spatial gradients, and a weak KL. frames [B, 3, 4n+1, H, W] in -1..1.

    Goes through the decoder in its temporal groups, with their caches, as decoding does.
    """
    moments = vae.encoder(frames, {}).float()
    mean, logvar = moments.chunk(2, dim=1)
    z = sample_posterior(moments, lambda m: torch.randn(m.shape, generator=generator).to(m))
    cache: dict = {}
    groups = enumerate(decode_groups(z.shape[2]))
    out = torch.cat([vae.decoder(z[:, :, a:b], cache, first=i == 0) for i, (a, b) in groups], dim=2).float()
    divergence = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
    return F.l1_loss(out, frames) + edges * _edge_loss(out, frames) + kl * divergence


def _edge_loss(a: Tensor, b: Tensor) -> Tensor:
    return sum(F.l1_loss(a.diff(dim=dim), b.diff(dim=dim)) for dim in (-1, -2))


def _per_item(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like).view(-1, *[1] * (like.ndim - 1))
