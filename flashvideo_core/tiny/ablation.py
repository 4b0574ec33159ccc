"""The paper's ablation of the degradations: one stage 2 trained three times, alike but for its reference.

    python -m flashvideo_core train ablation --folder runs/ablation

none learns from clips averaged down, pixel from clips that are degraded there too (DEG_pixel), and pixel-latent noises
the reference besides. Scenes, captions, start weights, steps and all that a step draws are the same. Latents and models
go into the folder as `train tiny` lays them, and what is there is kept. Source: arXiv 2502.05179, which compares pixel
with pixel + latent.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoint import load_text, load_transformer, load_vae
from ..errors import InputError
from ..training.degradation import Degradation, make_degraded_draft, make_draft
from ..training.distributed import SINGLE_PROCESS, World
from ..training.loop import LoopConfig
from ..training.loss_log import check_matplotlib
from ..training.run_record import RunRecord, check_same_run
from ..types import ProgressCallback
from ..vae import VAE
from ..weights.reader import file_sha256
from .caption_table import draw_all_captions, embed_captions
from .clips import render_patch, render_whole
from .latent_shards import start_shards
from .latents import LatentKind, Latents, encode_clip, encode_references, get_draft_size
from .recipe import Recipe
from .recipe_stages import make_stage2_recipe
from .rendering import Clips
from .train import plot_model_losses, prepare_latents, train_model

NO_NOISE = (0, 1)  # noise steps, the second excluded


@dataclass(frozen=True)
class AblatedStage2:
    """One of the three: what it learns from, and how it is run where not by its defaults.

    A stage 2 is run with the noise that it was trained with.
    """

    name: str  # of its file
    reference: str  # name of the latents, see `encode_drafts`
    noise_steps: tuple[int, int]  # the second excluded
    refine_kwargs: Mapping[str, int] = field(default_factory=dict)


ABLATION = (
    AblatedStage2("none", "clean", NO_NOISE, {"ref_step": 0}),
    AblatedStage2("pixel", "degraded", NO_NOISE, {"ref_step": 0}),
    # noise that shows: the embedded model has little
    AblatedStage2("pixel-latent", "degraded", (150, 450), {"ref_step": 300}),
)


@dataclass(frozen=True)
class Budget:
    """What each of the three gets. Raises InputError for a count below 1."""

    steps: int = 1000
    patches: int = 768  # scenes whose patches are learnt from, and whole clips
    clips: int = 128
    batch: int = 8
    seed: int = 0

    def __post_init__(self):
        for name in ("steps", "patches", "clips", "batch"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 1")


@dataclass(frozen=True)
class StartFiles:
    """VAE and text encoder of the embedded model or of one like it; a stage 2 to go on from, None begins anew."""

    vae: Path
    text: Path
    stage2: Path | None = None


def train_ablation(
    folder: Path,
    files: StartFiles,
    budget: Budget,
    progress: ProgressCallback | None = None,
    world: World = SINGLE_PROCESS,
) -> list[Path]:
    """Makes what the folder lacks of the three and returns their files. progress as in `train_tiny`.

    Raises InputError for a folder that holds another ablation.
    """
    check_matplotlib()
    check_same_run(folder, make_ablation_record(files, budget), world, evidence="latents")
    vae, encoder = load_vae(files.vae, device=world.device), load_text(files.text)[0].to(world.device)
    start = partial(start_shards, folder / "latents", world=world)
    shards = start(REFERENCES[0], count=budget.patches), start(REFERENCES[1], count=budget.clips)
    patches, clips = (prepare_latents(some, vae=vae, progress=progress, world=world) for some in shards)
    captions = embed_captions(encoder, draw_all_captions(max(budget.patches, budget.clips)))
    made = []
    for stage2 in ABLATION:
        make_recipe = partial(make_ablation_recipe, stage2, captions, patches, clips, files.stage2, budget, world)
        made.append(train_model(folder, stage2.name, make_recipe, seed=budget.seed, progress=progress, world=world))
    if world.first:
        plot_model_losses(folder, [stage2.name for stage2 in ABLATION])
    return made


def make_ablation_record(files: StartFiles, budget: Budget) -> RunRecord:
    """What the three depend on."""
    paths = {"vae": files.vae, "text": files.text, "start": files.stage2}
    hashes = {name: "nothing" if path is None else file_sha256(path) for name, path in paths.items()}
    return {"options": dataclasses.asdict(budget), **hashes}


def render_drafts(index: int, whole: bool) -> Clips:
    """A training clip, whole or a patch, and its draft as it is (clean) and degraded."""
    clip = render_whole(index) if whole else render_patch(index)
    size = get_draft_size(clip)
    return {
        "clip": clip,
        "clean": make_draft(clip, size),
        "degraded": make_degraded_draft(clip, size, Degradation(), index),
    }


@torch.no_grad()
def encode_drafts(vae: VAE, clips: Clips) -> Latents:
    """The latents z of clips, and the references of both drafts: [B, 16, T, H/8, W/8] each."""
    references = {name: encode_references(vae, clips[name]) for name in ("clean", "degraded")}
    return {"z": encode_clip(vae, clips["clip"])} | references


REFERENCES = (
    LatentKind("ablation-patch", partial(render_drafts, whole=False), encode_drafts),
    LatentKind("ablation-clip", partial(render_drafts, whole=True), encode_drafts, 4),
)


def make_ablation_recipe(
    stage2: AblatedStage2,
    captions: Tensor,
    patches: Latents,
    clips: Latents,
    start: Path | None,
    budget: Budget,
    world: World,
) -> Recipe:
    """The recipe of the embedded stage 2 on the reference and noise of one of the three."""
    recipe = make_stage2_recipe(
        captions,
        *({"z": table["z"], "z_ref": table[stage2.reference]} for table in (patches, clips)),
        noise_steps=stage2.noise_steps,
        batch_size=budget.batch,
        start=None if start is None else load_transformer(start),
        world=world,
    )
    return replace(recipe, loop=shorten_loop(recipe.loop, budget))


def shorten_loop(loop: LoopConfig, budget: Budget) -> LoopConfig:
    """The loop with the budget's steps and seed, and a warm-up of at most a tenth of the steps."""
    return replace(loop, steps=budget.steps, seed=budget.seed, warmup=min(loop.warmup, -(-budget.steps // 10)))
