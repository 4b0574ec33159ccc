"""Trains the embedded model from nothing: `python -m flashvideo_core train tiny --folder runs/tiny`.

The parts run in order (image, vae, text, latents, stage1, stage2); each resumes where it stopped, so the
same command goes on after an interruption. The result is four safetensors files and loss.png in the folder.
Under torchrun the two stages are trained by all processes together; the small parts before them by the first one.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ..checkpoint import load_text, load_vae, metadata_for
from ..training.curves import check_plotting, plot
from ..training.distributed import ALONE, World, shard, wait
from ..training.loop import fit
from ..training.precision import device_of, fast_bf16
from ..weights.atomic import save_weights
from . import latents
from . import recipe as tiny
from .captions import vocabulary
from .init import whiten
from .preview import fit_latent_rgb
from .world import render

DRAFTS, PATCHES, PAIRS = 2560, 768, 128  # clips whose latents are made
PARTS = ("image", "vae", "text", "stage1", "stage2")


def train_tiny(
    folder: Path,
    seed: int = 0,
    on_step: Callable[[str, int, int, float], None] | None = None,
    world: World = ALONE,
) -> None:
    """Makes every part that folder lacks. `on_step(part, step, steps, loss)` follows the first process's."""
    check_plotting()
    make = partial(run, folder, seed=seed, on_step=on_step)
    if world.first:
        make("image", tiny.image_recipe)
        make("vae", lambda: tiny.vae_recipe(whiten_vae(load_vae(folder / "image.safetensors"))))
        make("text", tiny.text_recipe)
    wait(world)
    vae = load_vae(folder / "vae.safetensors", device=world.device)
    encoder, _ = load_text(folder / "text.safetensors")
    drafts = build_latents(folder, "draft", partial(latents.draft_clip, vae), DRAFTS, on_step, world)
    colours = {"latent_rgb": preview_colours(drafts["z"][:32])}
    make("stage1", lambda: tiny.stage1_recipe(encoder, drafts, world=world), metadata=colours, world=world)
    patches = build_latents(folder, "patch", partial(latents.patch_clip, vae), PATCHES, on_step, world)
    clips = build_latents(folder, "pair", partial(latents.pair_clip, vae), PAIRS, on_step, world)
    make("stage2", lambda: tiny.stage2_recipe(encoder, patches, clips, world=world), metadata=colours, world=world)
    if world.first:
        plot_losses(folder)


def whiten_vae(vae: nn.Module, clips: int = 128) -> nn.Module:
    """The VAE whose latents of the first training clips have mean 0 and variance 1 in every channel."""
    return whiten(vae, torch.stack([latents.draft_clip(vae, i)["z"] for i in range(clips)]))


def run(
    folder: Path,
    part: str,
    recipe_of: Callable[[], tiny.Recipe],
    *,
    seed: int = 0,
    metadata: dict[str, str] | None = None,
    on_step: Callable | None = None,
    world: World = ALONE,
) -> Path:
    """Trains one part into folder/part/ and writes its EMA weights to folder/part.safetensors."""
    target = folder / f"{part}.safetensors"
    if not target.exists():
        torch.manual_seed(seed)  # the start weights
        recipe = recipe_of()
        shard(recipe.model.to(world.device).train(), world)
        report = None if on_step is None else lambda step, loss: on_step(part, step + 1, recipe.loop.steps, loss)
        loop = replace(recipe.loop, autocast=recipe.loop.autocast and fast_bf16(device_of(recipe.model).type))
        ema = fit(recipe.model, recipe.loss, loop, folder / part, report, world)
        if world.first:
            export(target, recipe.model, ema, metadata)
    return target


def preview_colours(z: Tensor) -> str:
    """The live preview's factors, for the stages' metadata; z are latents of the first training clips."""
    clips = [render(latents.scene_of(i), height=latents.DRAFT[0], width=latents.DRAFT[1]) for i in range(len(z))]
    return json.dumps(fit_latent_rgb(z.float(), torch.stack(clips)).tolist())


def export(path: Path, model: nn.Module, ema: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Weights in float16 with the config (and the text encoder's words) in the metadata."""
    core = model.encoder if isinstance(getattr(model, "heads", None), nn.ModuleList) else model
    state = {**model.state_dict(), **ema}
    prefix = "encoder." if core is not model else ""
    state = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    words = {"words": " ".join(vocabulary())} if prefix else {}
    half = {name: value.half().contiguous() for name, value in state.items() if name in core.state_dict()}
    save_weights(path, half, {**metadata_for(core.config), **words, **(metadata or {})})


def build_latents(
    folder: Path, kind: str, clip_of: Callable, count: int, on_step: Callable | None, world: World = ALONE
) -> dict[str, Tensor]:
    """The table of the first `count` clips, made in folder/latents as far as it is not there."""
    report = None if on_step is None else lambda done, total: on_step(f"{kind} latents", done, total, 0.0)
    report = report if world.first else None
    latents.build(folder / "latents", kind, clip_of, count=count, on_shard=report, world=world)
    wait(world)
    return latents.load(folder / "latents", kind, count=count)


def plot_losses(folder: Path, parts: Iterable[str] = PARTS) -> Path:
    """folder/loss.png: one panel a part, each step's loss and a running mean."""
    logs = {part: folder / part / "loss.csv" for part in parts}
    return plot(folder / "loss.png", {part: log for part, log in logs.items() if log.exists()})
