"""Trains the embedded model from nothing: `python -m flashvideo_core train tiny --folder runs/tiny`.

The models are trained one after the other (image, vae, text, stage1, stage2; "image" is the VAE's first half), with
latents made in between; each resumes where it stopped, so the same command goes on after an interruption. The result
is four safetensors files and loss.png in the folder. Under torchrun the two stages are trained by all processes
together; the small models before them by the first one.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ..checkpoint import load_text, load_vae, make_metadata
from ..training.device import get_device, is_bf16_fast
from ..training.distributed import SINGLE_PROCESS, World, barrier
from ..training.loop import fit
from ..training.loss_log import check_matplotlib, plot_losses
from ..training.randomness import seed_initialization
from ..training.sharding import shard_model
from ..types import ProgressCallback
from ..vae import VAE
from ..weights.atomic import save_weights
from .caption_table import embed_captions
from .captions import build_vocabulary
from .clips import render_draft
from .init import whiten
from .latent_shards import Shards, finish_shards, load_shards, split_clips
from .latents import DRAFTS, Latents
from .material import Material, start_material
from .pools import join_pool
from .preview import fit_latent_rgb
from .recipe import Recipe
from .recipe_stages import make_stage1_recipe, make_stage2_recipe
from .recipe_text import AttributeClassifier, make_text_recipe
from .recipe_vae import make_image_recipe, make_vae_recipe
from .rendering import open_renderers, render_ahead

WHITENING_COUNT, PREVIEW_COUNT = 128, 32  # clips that the VAE is whitened on, and the preview's colours are fitted on
MODELS = ("image", "vae", "text", "stage1", "stage2")


def train_tiny(
    folder: Path, seed: int = 0, progress: ProgressCallback | None = None, world: World = SINGLE_PROCESS
) -> None:
    """Makes every model that the folder lacks. Phases of progress are the models and "draft latents" and the like;
    the first process reports. Raises InputError without matplotlib."""
    check_matplotlib()
    with open_renderers() as renderers:
        train = partial(train_model, folder, seed=seed, progress=progress)
        material = start_material(folder, world, renderers)
        if world.first:
            train_small_models(folder, train, World(device=world.device), material)
        barrier(world)
        vae = load_vae(folder / "vae.safetensors", device=world.device)
        encoder = load_text(folder / "text.safetensors")[0].to(world.device)
        latents = partial(prepare_latents, vae=vae, progress=progress, world=world)
        drafts = latents(material.drafts)
        colors = {"latent_rgb": fit_preview_colors(drafts["z"][:PREVIEW_COUNT])}
        train_stage, describe = partial(train, metadata=colors, world=world), partial(embed_captions, encoder)
        train_stage("stage1", lambda: make_stage1_recipe(describe(material.draft_captions), drafts, world=world))
        patches, pairs = latents(material.patches), latents(material.pairs)
        train_stage("stage2", lambda: make_stage2_recipe(describe(material.captions), patches, pairs, world=world))
    if world.first:
        plot_model_losses(folder)


def train_small_models(folder: Path, train: Callable[..., Path], world: World, material: Material) -> None:
    """The VAE, in two halves on the same pools, and the text encoder. train: `train_model`, but for these; world: of
    this process alone."""
    train = partial(train, world=world)
    if not (folder / "vae.safetensors").exists():
        pools = {kind: join_pool(clips, world.device) for kind, clips in material.pools.items()}
        image = train("image", lambda: make_image_recipe(pools))
        train("vae", lambda: make_vae_recipe(whiten_vae(load_vae(image, device=world.device), world), pools))
    train("text", lambda: make_text_recipe(material.examples, world))


def train_model(
    folder: Path,
    name: str,
    make_recipe: Callable[[], Recipe],
    *,
    seed: int = 0,
    metadata: Mapping[str, str] | None = None,
    progress: ProgressCallback | None = None,
    world: World = SINGLE_PROCESS,
) -> Path:
    """Trains one model into folder/name/ and writes its EMA weights to folder/name.safetensors, unless that is there.

    seed: of the start weights and of what the steps draw; the caller's random state stays as it is.
    """
    path = folder / f"{name}.safetensors"
    if path.exists():
        return path
    with seed_initialization(seed):
        recipe = make_recipe()
    shard_model(recipe.model.to(world.device).train(), world)
    autocast = recipe.loop.autocast and is_bf16_fast(get_device(recipe.model).type)
    loop = replace(recipe.loop, seed=seed, autocast=autocast)

    def on_step(step: int, loss: float) -> None:
        if progress is not None:
            progress(name, step + 1, loop.steps, None)

    ema = fit(recipe.model, recipe.loss, loop, folder / name, on_step, world)
    if world.first:
        export_model(path, recipe.model, ema, metadata)
    return path


def prepare_latents(
    shards: Shards, *, vae: VAE, progress: ProgressCallback | None = None, world: World = SINGLE_PROCESS
) -> Latents:
    """The table of the clips whose shards were started, made as far as it is not there. Collective."""

    def on_shard(done: int, total: int) -> None:
        if progress is not None and world.first:
            progress(f"{shards.kind.name} latents", done, total, None)

    finish_shards(shards, vae, on_shard)
    barrier(world)
    return load_shards(shards.folder, shards.kind.name, count=shards.count)


def whiten_vae(vae: VAE, world: World, count: int = WHITENING_COUNT) -> nn.Module:
    """The VAE whose latents of the first training clips have mean 0 and variance 1 in every channel."""
    clips = render_ahead(DRAFTS.render, split_clips(range(count), DRAFTS, world))
    return whiten(vae, torch.cat([DRAFTS.encode(vae, clip)["z"] for clip in clips]))


def fit_preview_colors(z: Tensor) -> str:
    """The live preview's factors, for the stages' metadata; z are latents of the first training clips."""
    clips = torch.stack([render_draft(i) for i in range(len(z))])
    return json.dumps(fit_latent_rgb(z.float(), clips).tolist())


def export_model(
    path: Path, model: nn.Module, ema: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Weights in float16, averaged where they were trained, with the config in the metadata. Of a text encoder in
    training only the encoder, and its words."""
    state, words = {**model.state_dict(), **ema}, {}
    if isinstance(model, AttributeClassifier):
        state = {name.removeprefix("encoder."): value for name, value in state.items() if name.startswith("encoder.")}
        model, words = model.encoder, {"words": " ".join(build_vocabulary())}
    half = {name: value.half().contiguous() for name, value in state.items()}
    save_weights(path, half, {**make_metadata(model.config), **words, **(metadata or {})})


def plot_model_losses(folder: Path, models: Iterable[str] = MODELS) -> Path:
    """folder/loss.png: one panel a model, each step's loss and a running mean."""
    logs = {name: folder / name / "loss.csv" for name in models}
    return plot_losses(folder / "loss.png", {name: log for name, log in logs.items() if log.exists()})
