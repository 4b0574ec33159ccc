"""What test_distributed.py trains: by itself in one process, and through torchrun in two (`main`)."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from flashvideo_core.config import STAGE2, TextConfig
from flashvideo_core.dit import Transformer
from flashvideo_core.tiny.recipe import Recipe
from flashvideo_core.tiny.recipe_stages import make_stage1_recipe, make_stage2_recipe
from flashvideo_core.tiny.scene import ATTRIBUTES
from flashvideo_core.tiny.train import train_model
from flashvideo_core.training.activation_checkpointing import enable_activation_checkpointing
from flashvideo_core.training.distributed import World, assign_items, init_distributed
from flashvideo_core.training.loop import LoopConfig, fit
from flashvideo_core.training.lora import add_lora
from flashvideo_core.training.losses import drop_text, stage2_loss
from flashvideo_core.training.sharding import is_sharded, shard_model

CONFIG = replace(STAGE2, layers=3, hidden=128, time_dim=32, text_dim=24, text_length=6)  # about the golden size
LOOP = LoopConfig(steps=6, lr=1e-3, warmup=2, ema=0.9, clip=0.5, save_every=3, keep=2, autocast=False)


def make_small_recipe(
    world: World, batch: int = 4, change: Callable[[nn.Module], nn.Module] | None = None, **loop
) -> Recipe:
    """A very small stage 2 that learns random clips; `change` makes of the network what is trained."""
    model, config = Transformer(CONFIG), replace(LOOP, **loop)
    model = model if change is None else change(model)
    return Recipe(model, partial(random_clip_loss, model, batch, assign_items(world, config.accumulate, batch)), config)


def random_clip_loss(model: nn.Module, batch: int, mine: slice, generator: torch.Generator) -> torch.Tensor:
    """The whole batch is drawn in every process; the loss is that of this process's rows."""
    z, z_ref = torch.randn(2, batch, 16, 3, 6, 8, generator=generator)
    txt = drop_text(torch.randn(batch, 6, 24, generator=generator), 0.3, generator)
    return stage2_loss(model, z, z_ref, txt, 300, generator, mine)


def freeze_all_but_qkv(model: nn.Module) -> nn.Module:
    for name, p in model.named_parameters():
        p.requires_grad_(".qkv." in name)
    return model


def add_small_lora(model: nn.Module) -> nn.Module:
    """As released weights are trained: float32 matrices beside a frozen bfloat16 base."""
    return add_lora(model.bfloat16(), rank=4, alpha=4.0)


def make_tiny_recipe(stage: int, world: World) -> Recipe:
    """The recipe of the embedded model, on random latents; stage 2 has batches of four patches and of one clip."""
    captions = torch.randn(8, 2, len(ATTRIBUTES), TextConfig.width)
    table = {name: torch.randn(8, 16, 2, 20, 24).half() for name in ("z", "z_ref")}
    if stage == 1:
        recipe = make_stage1_recipe(captions, {"z": table["z"][..., :8, :12]}, batch_size=4, world=world)
    else:
        recipe = make_stage2_recipe(captions, table, table, clip_share=0.5, batch_size=4, world=world)
    return replace(recipe, loop=LOOP)


CASES = {
    "rows": make_small_recipe,
    "micro-batches": partial(make_small_recipe, batch=1, accumulate=2),
    "one item": partial(make_small_recipe, batch=1),
    "recompute": partial(make_small_recipe, change=enable_activation_checkpointing),
    "frozen": partial(make_small_recipe, change=freeze_all_but_qkv),
    "tiny stage 1": partial(make_tiny_recipe, 1),
    "tiny stage 2": partial(make_tiny_recipe, 2),
    "bf16": partial(make_small_recipe, autocast=True),
    "lora in bf16": partial(make_small_recipe, change=add_small_lora, autocast=True),
}


def train(case: str, folder: Path, world: World) -> dict:
    """One case, from the folder's state if it has one. The results are in the folder; returned is how it went."""
    torch.manual_seed(0)
    recipe, steps = CASES[case](world), []
    shard_model(recipe.model, world)
    ema = fit(recipe.model, recipe.loss, recipe.loop, folder, lambda step, loss: steps.append(step), world)
    params = list(recipe.model.parameters())
    held = sum((p.to_local() if is_sharded(p) else p).numel() for p in params)
    return {
        "sharded": all(is_sharded(p) for p in params),
        "held": held / sum(p.numel() for p in params),
        "steps": steps,
        "whole": sum(isinstance(value, torch.Tensor) and not is_sharded(value) for value in ema.values()),
    }


def main() -> None:
    """FOLDER/two CASE of each; "rows" again from the state in FOLDER/two resumed; parts/stage1; facts-RANK.json."""
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    with init_distributed("cpu") as world:
        facts = {case: train(case, folder / f"two {case}", world) for case in CASES}
        train_model(folder / "parts", "stage1", partial(make_tiny_recipe, 1, world), world=world)
        facts["resumed"] = train("rows", folder / "two resumed", world)
        time.sleep(1.0 if world.first else 0.0)
        facts["finished"] = time.monotonic()
    facts["left"] = time.monotonic()
    (folder / f"facts-{world.rank}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
