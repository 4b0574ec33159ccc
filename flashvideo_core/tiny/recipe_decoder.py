"""The recipe of the embedded VAE's small decoder: distilled from the VAE's own decoder."""

import torch
from torch import Tensor

from ..config import SmallDecoderConfig
from ..small_decoder import SmallDecoder
from ..training.device import get_device
from ..training.loop import LoopConfig
from ..training.losses import decoder_loss
from .init import init_small_decoder
from .latents import Latents
from .preview import fit_latent_rgb
from .recipe import Recipe

DECODER_CONFIG = SmallDecoderConfig(widths=(48, 32, 16, 16))  # 0.84 MB in float16
DECODER_LOOP = LoopConfig(steps=2000, lr=2e-3, weight_decay=0.0, betas=(0.9, 0.99), ema=0.997)
DRAFT_BATCH, PATCH_BATCH = 3, 1  # about as many pixels
COLOUR_COUNT = 32  # drafts that the colours are fitted on
DRAFT_SHARE = 0.6  # of the batches


def make_decoder_recipe(drafts: Latents, patches: Latents) -> Recipe:
    """A new decoder on whole drafts and on patches of full-size clips; both are tables {"z", "frames"}."""
    colours = fit_latent_rgb(drafts["z"][:COLOUR_COUNT].float(), drafts["frames"][:COLOUR_COUNT].float())
    model = init_small_decoder(SmallDecoder(DECODER_CONFIG), colours)

    def loss(generator: torch.Generator) -> Tensor:
        is_draft = torch.rand((), generator=generator) < DRAFT_SHARE
        table, count = (drafts, DRAFT_BATCH) if is_draft else (patches, PATCH_BATCH)
        index = torch.randint(len(table["z"]), (count,), generator=generator)
        z, frames = (table[name][index].to(get_device(model)).float() for name in ("z", "frames"))
        return decoder_loss(model, z, frames)

    return Recipe(model, loss, DECODER_LOOP)
