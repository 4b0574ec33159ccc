"""What is measured: a part of the path at a named size. Weights and inputs are random, from a fixed seed."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..config import STAGE1, STAGE2, VAE, TransformerConfig, VAEConfig
from ..dit import Transformer
from ..errors import InputError
from ..vae import VAE as Autoencoder

Latent = tuple[int, int, int]
GIVEN = {  # part -> the field of Size that it is given; peers have the first three
    "vae-decode": "latent",
    "vae-encode": "latent",
    "dit": "tokens",
    "stage1": "draft",
    "stage2": "tokens",
    "end-to-end": "tokens",
}
PARTS = tuple(GIVEN)
NETWORKS = PARTS[:3]
_TINY_WIDTHS = {"layers": 2, "hidden": 128, "time_dim": 64, "text_dim": 64, "text_length": 8}
_TWO_LAYERS = {"layers": 2, "hidden": 1920}


@dataclass(frozen=True)
class Size:
    """Networks, and the latents (T, H, W) that they are given; an encode takes the frames of its latent.

    `transformer` runs alone, in the layout of stage 1, which peers have too; the samplers have networks of their own.
    A whole clip goes from `draft` to `tokens`. `steps`: evaluations of the two samplers.
    """

    vae: VAEConfig
    latent: Latent
    transformer: TransformerConfig
    tokens: Latent
    stage1: TransformerConfig
    stage2: TransformerConfig
    draft: Latent
    steps: tuple[int, int] = (3, 2)


def _size(vae: VAEConfig, latent: Latent, widths: dict, draft: Latent, tokens: Latent) -> Size:
    stage1, stage2 = replace(STAGE1, **widths), replace(STAGE2, **widths)
    return Size(vae, latent, stage1, tokens, stage1, stage2, draft)


SIZES = {
    "tiny": _size(replace(VAE, channels=32, blocks=1), (3, 4, 6), _TINY_WIDTHS, (3, 4, 6), (3, 8, 12)),
    "narrow": _size(
        *(replace(VAE, channels=64, blocks=1), (3, 16, 24)), {"layers": 2, "hidden": 768}, (3, 12, 18), (3, 24, 36)
    ),
    "small": _size(VAE, (3, 8, 12), _TWO_LAYERS, (3, 8, 12), (3, 16, 24)),
    "medium": _size(VAE, (5, 16, 24), _TWO_LAYERS, (5, 16, 24), (5, 32, 48)),
    "released": Size(
        *(VAE, (13, 134, 240), replace(STAGE1, layers=STAGE2.layers, hidden=STAGE2.hidden), (13, 134, 240)),
        *(STAGE1, STAGE2, (13, 32, 60), (51, 4)),
    ),
}


def find_size(part: str, name: str, latent: Latent | None = None) -> Size:
    """The named size, its part given another latent if one is named. Raises ValueError for what is unknown or odd."""
    if part not in PARTS:
        raise InputError(f"{part} is no part; use {', '.join(PARTS)}")
    if name not in SIZES:
        raise InputError(f"{name} is no size; use {', '.join(SIZES)}")
    if latent is None:
        return SIZES[name]
    if len(latent) != 3 or min(latent) < 1 or (GIVEN[part] != "latent" and any(side % 2 for side in latent[1:])):
        said = "x".join(map(str, latent))
        raise InputError(f"latent {said}: it is TxHxW, each at least 1, H and W even where a transformer takes it")
    size = replace(SIZES[name], **{GIVEN[part]: tuple(latent)})
    return replace(size, draft=(latent[0], *size.draft[1:])) if part == "end-to-end" else size


def parse_latent(text: str) -> Latent:
    """ "5x16x24" -> (5, 16, 24). Raises ValueError for anything else."""
    try:
        t, h, w = map(int, text.split("x"))
    except ValueError:
        raise InputError(f"latent {text!r}: write it as TxHxW, such as 5x16x24") from None
    return t, h, w


def build_network(part: str, size: Size) -> nn.Module:
    """Our network of a part, float32 on the CPU, every parameter random and the same in every process."""
    transformers = {"dit": size.transformer, "stage1": size.stage1, "stage2": size.stage2}
    with torch.device("meta"):
        network = Transformer(transformers[part]) if part in transformers else Autoencoder(size.vae)
    network.to_empty(device="cpu").requires_grad_(False).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        spread = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.1
        parameter.normal_(0.5 * (parameter.ndim == 1), spread, generator=generator)
    if part not in transformers:
        network.decoder.conv_out.conv.weight.mul_(0.2)  # so that few pixels are clamped
        network.decoder.conv_out.conv.bias.zero_()
    return network


def make_inputs(part: str, size: Size) -> tuple[Tensor, ...]:
    """decode: a latent; encode: frames; dit: a latent, its timestep and text; stages: a latent and text."""
    generator = torch.Generator().manual_seed(1)
    t, h, w = getattr(size, GIVEN[part])
    if part == "vae-encode":
        return (torch.rand(1, 3, 4 * t - 3, 8 * h, 8 * w, generator=generator) * 2 - 1,)
    latent = torch.randn(1, 16, t, h, w, generator=generator)
    if part == "vae-decode":
        return (latent,)
    txt = random_text(size.transformer)
    return (latent, torch.full((1,), 500.0), txt) if part == "dit" else (latent, txt)


def random_text(config: TransformerConfig) -> Tensor:
    return torch.randn(1, config.text_length, config.text_dim, generator=torch.Generator().manual_seed(3))


def probe_inputs(part: str, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A first piece of the inputs so short that every implementation takes it as one temporal group."""
    if not part.startswith("vae"):
        return inputs
    return (inputs[0][:, :, : 5 if part == "vae-encode" else 3],)


def warm_inputs(part: str, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A corner of the inputs, enough to load every kernel."""
    side = 32 if part == "vae-encode" else 4
    return tuple(x[..., :side, :side] if x.ndim == 5 else x for x in probe_inputs(part, inputs))
