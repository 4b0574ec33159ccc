"""The paper's ablation of the degradations: one stage 2 trained three times, alike but for its reference.

    python -m flashvideo_core train ablation --folder runs/ablation

none learns from clips averaged down, pixel from clips that are degraded there too (DEG_pixel), and pixel-latent noises
the reference besides. Scenes, captions, start weights, steps and all that a step draws are the same. Latents and parts
go into the folder as `train tiny` lays them, and what is there is kept.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoint import load_text, load_transformer, load_vae
from ..errors import InputError
from ..training.curves import check_plotting
from ..training.degradation import Degradation, degraded_draft, draft_of
from ..training.distributed import ALONE, World
from ..training.finetune import check_same_run
from ..training.loop import LoopConfig
from ..vae import VAE
from ..weights.reader import file_sha256
from . import latents
from . import recipe as tiny
from .train import build_latents, plot_losses, run

NOISELESS = (0, 1)  # noise steps, the second excluded


@dataclass(frozen=True)
class Arm:
    """One of the three: the latents and noise steps that it learns from, and how it is run where not by its defaults.

    A stage 2 is run with the noise that it was trained with.
    """

    name: str  # of its file
    reference: str
    noise_steps: tuple[int, int]
    how: Mapping[str, int]


ARMS = (
    Arm("none", "clean", NOISELESS, {"ref_step": 0}),
    Arm("pixel", "degraded", NOISELESS, {"ref_step": 0}),
    Arm("pixel-latent", "degraded", (150, 450), {"ref_step": 300}),  # noise that shows: the embedded model has little
)


@dataclass(frozen=True)
class Budget:
    """What each of the three gets. Raises ValueError for a count below 1."""

    steps: int = 1000
    patches: int = 768  # scenes whose patches are learnt from, and whole clips
    clips: int = 128
    batch: int = 8
    seed: int = 0

    def __post_init__(self):
        for name in ("steps", "patches", "clips", "batch"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 1")


def train_ablation(
    folder: Path,
    vae: Path,
    text: Path,
    start: Path | None,
    budget: Budget,
    on_step: Callable[[str, int, int, float], None] | None = None,
    world: World = ALONE,
) -> list[Path]:
    """Makes what the folder lacks of the three and returns their files. on_step as in `train_tiny`.

    vae and text are files of the embedded model or of one like it; start is a stage 2 to go on from, None begins anew.
    Raises ValueError for a folder that holds another ablation.
    """
    check_plotting()
    check_same_run(folder, run_record(vae, text, start, budget), world, begun="latents")
    coder, (encoder, _) = load_vae(vae, device=world.device), load_text(text)
    patches, clips = (
        build_latents(folder, kind, partial(references, coder, frames_of), count, on_step, world)
        for kind, frames_of, count in (
            ("ablation-patch", latents.patch_frames, budget.patches),
            ("ablation-clip", latents.whole_frames, budget.clips),
        )
    )
    made = []
    for arm in ARMS:
        recipe = partial(recipe_of, arm, encoder, patches, clips, start, budget, world)
        made.append(run(folder, arm.name, recipe, seed=budget.seed, on_step=on_step, world=world))
    if world.first:
        plot_losses(folder, [arm.name for arm in ARMS])
    return made


def run_record(vae: Path, text: Path, start: Path | None, budget: Budget) -> dict:
    """What the three depend on, as JSON."""
    files = {"vae": vae, "text": text, "start": start}
    hashes = {name: "nothing" if path is None else file_sha256(path) for name, path in files.items()}
    return {"options": dataclasses.asdict(budget), **hashes}


@torch.no_grad()
def references(vae: VAE, frames_of: Callable[[int], Tensor], index: int) -> dict[str, Tensor]:
    """The latent z of a training clip, and of its draft as it is (clean) and degraded: [16, T, H/8, W/8] each."""
    clip = frames_of(index)
    size = latents.draft_size(clip)
    drafts = {"clean": draft_of(clip, size), "degraded": degraded_draft(clip, size, Degradation(), index)}
    return {"z": latents.encode(vae, clip)} | {name: latents.reference(vae, d) for name, d in drafts.items()}


def recipe_of(
    arm: Arm, encoder, patches: dict[str, Tensor], clips: dict[str, Tensor], start: Path | None, budget: Budget, world
) -> tiny.Recipe:
    tables = ({"z": table["z"], "z_ref": table[arm.reference]} for table in (patches, clips))
    model = None if start is None else load_transformer(start)
    how = {"noise_steps": arm.noise_steps, "batch": budget.batch, "start": model, "world": world}
    recipe = tiny.stage2_recipe(encoder, *tables, **how)
    return replace(recipe, loop=loop_of(recipe.loop, budget))


def loop_of(loop: LoopConfig, budget: Budget) -> LoopConfig:
    return replace(loop, steps=budget.steps, seed=budget.seed, warmup=min(loop.warmup, -(-budget.steps // 10)))
