"""Trains a small decoder for an embedded model's VAE: `python -m flashvideo_core train decoder --folder runs/decoder`.

Rendered clips go through the VAE once; the small decoder then learns to make of their latents what the VAE's decoder
made. Resumable as `train tiny` is.
"""

from functools import partial
from pathlib import Path

from ..checkpoint import load_vae
from ..training.distributed import SINGLE_PROCESS, World
from ..types import ProgressCallback
from ..weights.reader import file_sha256
from ..weights.wrappers import VAE_HASH
from .latent_shards import start_shards
from .latents import LatentKind, encode_decoded, render_draft_clip, render_patch_clip
from .recipe_decoder import make_decoder_recipe
from .train import prepare_latents, train_model

DECODED = (  # and how many go through the VAE
    (LatentKind("decoded-draft", render_draft_clip, encode_decoded), 256),
    (LatentKind("decoded-patch", render_patch_clip, encode_decoded), 96),
)


def train_decoder(
    folder: Path, vae: Path, seed: int = 0, progress: ProgressCallback | None = None, world: World = SINGLE_PROCESS
) -> Path:
    """folder/decoder.safetensors, unless it is there; vae: the file of the VAE that it stands in for.

    Phases of progress are "decoded-draft latents", "decoded-patch latents" and decoder.
    """
    teacher = load_vae(vae, device=world.device)
    shards = [start_shards(folder / "latents", kind, count=count, world=world) for kind, count in DECODED]
    drafts, patches = (prepare_latents(some, vae=teacher, progress=progress, world=world) for some in shards)
    recipe, of = partial(make_decoder_recipe, drafts, patches), {VAE_HASH: file_sha256(vae)}
    return train_model(folder, "decoder", recipe, seed=seed, metadata=of, progress=progress, world=world)
