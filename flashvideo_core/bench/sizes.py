"""What is measured: a part of the path at a named size. Weights and inputs are random, from a fixed seed."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..config import STAGE1, STAGE2, VAE, TransformerConfig, VAEConfig
from ..dit import Transformer
from ..vae import VAE as Autoencoder

PARTS = ("vae-decode", "vae-encode", "dit")
_TINY_WIDTHS = {"layers": 2, "hidden": 128, "time_dim": 64, "text_dim": 64, "text_length": 8}
_TWO_LAYERS = replace(STAGE1, layers=2, hidden=1920)


@dataclass(frozen=True)
class Size:
    """Networks, and the latents (T, H, W) that they are given; an encode takes the frames of its latent."""

    vae: VAEConfig
    latent: tuple[int, int, int]
    transformer: TransformerConfig
    tokens: tuple[int, int, int]


SIZES = {
    "tiny": Size(replace(VAE, channels=32, blocks=1), (3, 4, 6), replace(STAGE1, **_TINY_WIDTHS), (3, 8, 12)),
    "small": Size(VAE, (3, 8, 12), _TWO_LAYERS, (3, 16, 24)),
    "medium": Size(VAE, (5, 16, 24), _TWO_LAYERS, (5, 32, 48)),
    # The layout of stage 1, which peers have too, with the widths, layers and latent of stage 2.
    "released": Size(VAE, (13, 134, 240), replace(STAGE1, layers=STAGE2.layers, hidden=STAGE2.hidden), (13, 134, 240)),
}


def check_case(part: str, size: str) -> None:
    if part not in PARTS:
        raise ValueError(f"{part} is no part; use {', '.join(PARTS)}")
    if size not in SIZES:
        raise ValueError(f"{size} is no size; use {', '.join(SIZES)}")


def build_network(part: str, size: Size) -> nn.Module:
    """Our network of a part, float32 on the CPU, every parameter random and the same in every process."""
    with torch.device("meta"):
        network = Transformer(size.transformer) if part == "dit" else Autoencoder(size.vae)
    network.to_empty(device="cpu").requires_grad_(False).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        spread = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.1
        parameter.normal_(0.5 * (parameter.ndim == 1), spread, generator=generator)
    if part != "dit":
        network.decoder.conv_out.conv.weight.mul_(0.2)  # so that few pixels are clamped
        network.decoder.conv_out.conv.bias.zero_()
    return network


def make_inputs(part: str, size: Size) -> tuple[Tensor, ...]:
    """decode: a latent; encode: frames; dit: a latent of both branches, its timesteps and text, as in guidance."""
    generator = torch.Generator().manual_seed(1)
    t, h, w = size.tokens if part == "dit" else size.latent
    if part == "vae-encode":
        return (torch.rand(1, 3, 4 * t - 3, 8 * h, 8 * w, generator=generator) * 2 - 1,)
    if part == "vae-decode":
        return (torch.randn(1, 16, t, h, w, generator=generator),)
    config = size.transformer
    txt = torch.randn(1, config.text_length, config.text_dim, generator=generator)
    return torch.randn(1, 16, t, h, w, generator=generator), torch.full((1,), 500.0), txt


def probe_inputs(part: str, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A first piece of the inputs so short that every implementation takes it as one temporal group."""
    if part == "dit":
        return inputs
    return (inputs[0][:, :, : 5 if part == "vae-encode" else 3],)
