"""The rendered world as latents on disk, so that training the stages needs no VAE pass.

A shard is a safetensors file of CLIPS_PER_SHARD clips; clip i is always the same scene, so its captions can be drawn
again. A shard is written whole or not at all, and one that exists is kept: building resumes.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from ..training.distributed import SINGLE_PROCESS, World
from ..weights.atomic import atomic_write
from .latents import Latents, MakeLatents

CLIPS_PER_SHARD = 64


def build_shards(
    folder: Path,
    kind: str,
    make_latents: MakeLatents,
    *,
    count: int,
    on_shard: Callable[[int, int], None] | None = None,
    world: World = SINGLE_PROCESS,
) -> None:
    """Writes the missing shards of the first `count` clips, each process its share. on_shard(done, all) follows."""
    folder.mkdir(parents=True, exist_ok=True)
    shards = list_shards(folder, kind, count)
    for number in range(world.rank, len(shards), world.size):
        path, indices = shards[number]
        if not path.exists():
            clips = [make_latents(index) for index in indices]
            with atomic_write(path) as partial:
                save_file({name: torch.stack([clip[name] for clip in clips]) for name in clips[0]}, partial)
        if on_shard is not None:
            on_shard(number + 1, len(shards))


def load_shards(folder: Path, kind: str, *, count: int) -> Latents:
    """The first `count` clips as one table of float16 tensors [N, 16, T, H, W] by name."""
    tables = [load_file(path) for path, _ in list_shards(folder, kind, count)]
    return {name: torch.cat([table[name] for table in tables]) for name in tables[0]}


def list_shards(folder: Path, kind: str, count: int) -> list[tuple[Path, range]]:
    """The files of the first `count` clips, and which clips are in each; one that is not full says so in its name."""
    shards = []
    for number, first in enumerate(range(0, count, CLIPS_PER_SHARD)):
        indices = range(first, min(first + CLIPS_PER_SHARD, count))
        fill = "" if len(indices) == CLIPS_PER_SHARD else f"-{len(indices)}"
        shards.append((folder / f"{kind}-{number:05d}{fill}.safetensors", indices))
    return shards
