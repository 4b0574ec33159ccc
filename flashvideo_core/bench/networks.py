"""The networks that are measured, and their inputs: random, from a fixed seed, the same in every process."""

import torch
from torch import Tensor, nn

from ..config import TransformerConfig
from ..dit import Transformer
from ..vae import VAE
from .sizes import Size


def build_network(workload: str, size: Size) -> nn.Module:
    """Our network of a workload, float32 on the CPU, every parameter random."""
    transformers = {"dit": size.transformer, "stage1": size.stage1, "stage2": size.stage2}
    with torch.device("meta"):
        network = Transformer(transformers[workload]) if workload in transformers else VAE(size.vae)
    network.to_empty(device="cpu").requires_grad_(False).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        spread = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.1
        parameter.normal_(0.5 * (parameter.ndim == 1), spread, generator=generator)
    if workload not in transformers:
        network.decoder.conv_out.conv.weight.mul_(0.2)  # so that few pixels are clamped
        network.decoder.conv_out.conv.bias.zero_()
    return network


def make_inputs(workload: str, size: Size) -> tuple[Tensor, ...]:
    """decode: a latent; encode: frames; dit: a latent, its timestep and text; stages: a latent and text."""
    generator = torch.Generator().manual_seed(1)
    t, h, w = size.latent_of(workload)
    if workload == "vae-encode":
        return (torch.rand(1, 3, 4 * t - 3, 8 * h, 8 * w, generator=generator) * 2 - 1,)
    latent = torch.randn(1, 16, t, h, w, generator=generator)
    if workload == "vae-decode":
        return (latent,)
    txt = make_text(size.transformer)
    return (latent, torch.full((1,), 500.0), txt) if workload == "dit" else (latent, txt)


def make_text(config: TransformerConfig) -> Tensor:
    """Text embeddings [1, L, text_dim]."""
    return torch.randn(1, config.text_length, config.text_dim, generator=torch.Generator().manual_seed(3))


def cut_one_group(workload: str, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The first frames of a VAE's inputs, so few that every implementation takes them as one temporal group."""
    if not workload.startswith("vae"):
        return inputs
    return (inputs[0][:, :, : 5 if workload == "vae-encode" else 3],)


def cut_corner(workload: str, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A corner of the first frames, enough to load every kernel."""
    side = 32 if workload == "vae-encode" else 4
    return tuple(x[..., :side, :side] if x.ndim == 5 else x for x in cut_one_group(workload, inputs))
