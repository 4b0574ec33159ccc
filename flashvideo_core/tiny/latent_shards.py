"""The rendered world as latents on disk, so that training the stages needs no VAE pass.

A shard is a safetensors file of CLIPS_PER_SHARD clips; clip i is always the same scene, so its captions can be drawn
again. A shard is written whole or not at all, and one that exists is kept: building resumes.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from ..training.distributed import SINGLE_PROCESS, World
from ..vae import VAE
from ..weights.atomic import atomic_write
from .latents import LatentKind, Latents
from .rendering import AHEAD, Clips, render_ahead, split_evenly

CLIPS_PER_SHARD = 64


@dataclass(frozen=True)
class Shards:
    """This process's share of the shards of the first `count` clips: files and indices by number, which of them are
    missing and in what groups their clips are encoded, and the clips, which are being rendered."""

    folder: Path
    kind: LatentKind
    count: int
    total: int
    files: dict[int, tuple[Path, range]]
    missing: dict[int, list[range]]
    clips: Iterator[Clips]


def start_shards(
    folder: Path,
    kind: LatentKind,
    *,
    count: int,
    world: World = SINGLE_PROCESS,
    renderers: Executor | None = None,
    ahead: int = AHEAD,
) -> Shards:
    """Begins to render what is missing of the first `count` clips; renderers and ahead as in `render_ahead`."""
    shards = list_shards(folder, kind.name, count)
    files = {number: shards[number] for number in range(world.rank, len(shards), world.size)}
    missing = {n: split_clips(indices, kind, world) for n, (path, indices) in files.items() if not path.exists()}
    groups = [group for parts in missing.values() for group in parts]
    clips = render_ahead(kind.render, groups, renderers, ahead)
    return Shards(folder, kind, count, len(shards), files, missing, clips)


def split_clips(indices: range, kind: LatentKind, world: World) -> list[range]:
    """The groups in which the device encodes clips."""
    return split_evenly(indices, kind.at_once if world.kind == "cuda" else 1)


def finish_shards(shards: Shards, vae: VAE, on_shard: Callable[[int, int], None] | None = None) -> None:
    """Writes the missing ones. on_shard(done, all) follows."""
    for number, (path, _) in shards.files.items():
        if number in shards.missing:
            tables = [shards.kind.encode(vae, next(shards.clips)) for _ in shards.missing[number]]
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as partial:
                save_file(join_tables(tables), partial)
        if on_shard is not None:
            on_shard(number + 1, shards.total)


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
