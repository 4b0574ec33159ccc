"""The rendered world as latents on disk, so that training the stages needs no VAE pass.

A shard is a safetensors file of CLIPS_PER_SHARD clips; clip i is always the same scene, so its captions can be drawn
again. A shard is written whole or not at all, and one that exists is kept: building resumes.
"""

from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from ..training.device import get_device
from ..training.distributed import SINGLE_PROCESS, World
from ..vae import VAE
from ..weights.atomic import atomic_write
from .latents import LatentKind, Latents
from .rendering import render_ahead, split_evenly

CLIPS_PER_SHARD = 64


def build_shards(
    folder: Path,
    kind: LatentKind,
    vae: VAE,
    *,
    count: int,
    on_shard: Callable[[int, int], None] | None = None,
    world: World = SINGLE_PROCESS,
    renderers: Executor | None = None,
) -> None:
    """Writes the missing shards of the first `count` clips, each process its share. on_shard(done, all) follows."""
    folder.mkdir(parents=True, exist_ok=True)
    shards = list_shards(folder, kind.name, count)
    mine = range(world.rank, len(shards), world.size)
    size = kind.at_once if get_device(vae).type == "cuda" else 1
    groups = {number: split_evenly(shards[number][1], size) for number in mine if not shards[number][0].exists()}
    rendered = render_ahead(kind.render, [group for parts in groups.values() for group in parts], renderers)
    for number in mine:
        if number in groups:
            tables = [kind.encode(vae, next(rendered)) for _ in groups[number]]
            with atomic_write(shards[number][0]) as partial:
                save_file(join_tables(tables), partial)
        if on_shard is not None:
            on_shard(number + 1, len(shards))


def join_tables(tables: list[Latents]) -> Latents:
    """One after the other, on the CPU."""
    return {name: torch.cat([table[name].cpu() for table in tables]) for name in tables[0]}


def load_shards(folder: Path, kind: str, *, count: int) -> Latents:
    """The first `count` clips as one table of float16 tensors [N, 16, T, H, W] by name."""
    return join_tables([load_file(path) for path, _ in list_shards(folder, kind, count)])


def list_shards(folder: Path, kind: str, count: int) -> list[tuple[Path, range]]:
    """The files of the first `count` clips, and which clips are in each; one that is not full says so in its name."""
    shards = []
    for number, indices in enumerate(split_evenly(range(count), CLIPS_PER_SHARD)):
        fill = "" if len(indices) == CLIPS_PER_SHARD else f"-{len(indices)}"
        shards.append((folder / f"{kind}-{number:05d}{fill}.safetensors", indices))
    return shards
