"""`--shard`: which clips of a command this process makes, so that n processes make each of them once.

Clip k of the command's list, doubles left out, belongs to shard k mod n: the same on every machine, kept when lines are
added at the end, and even for clips of unequal length. No process needs to know of another.
"""

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
MAX_SHARDS = 1_000_000


@dataclass(frozen=True)
class Shard:
    """Shard `index`, from 0, of `count`. local_rank: of this process on its machine, where torchrun has started it."""

    index: int = 0
    count: int = 1
    local_rank: int | None = None

    def take(self, items: Sequence[T]) -> list[T]:
        """Those of the items that are this shard's."""
        return list(items[self.index :: self.count])

    def choose_device(self, device: str | None) -> str | None:
        """The device option of this process: each of torchrun's takes a card of its own, where it sees several."""
        if self.local_rank is None or device not in (None, "cuda"):
            return device
        import torch  # here, as --help does without

        cards = torch.cuda.device_count()
        return f"cuda:{self.local_rank % cards}" if cards > 1 else device


def parse_shard(text: str) -> Shard:
    """ "2/8", or "env" for what Slurm and torchrun say. n/n is 0/n, so that counting from 1 covers all as well."""
    if text == "env":
        return read_environment(os.environ)
    match = re.fullmatch(r"(\d{1,7})/(\d{1,7})", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no shard; write i/n, e.g. 0/4, or env")
    index, count = int(match[1]), int(match[2])
    if not (1 <= count <= MAX_SHARDS and index <= count):
        raise argparse.ArgumentTypeError(f"{text!r} is no shard; n is 1 to {MAX_SHARDS}, and i is 0 to n-1 (or 1 to n)")
    return Shard(index % count, count)


def read_environment(environ: Mapping[str, str]) -> Shard:
    """The shard of a task of a Slurm array, of a process of torchrun, or of such a process in such a task.

    An array must be without gaps (0-7, 1-8, 0-14:2): of any other Slurm does not tell which task is the how-manieth.
    """
    first = read_numbers(environ, "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_COUNT")
    second = read_numbers(environ, "RANK", "WORLD_SIZE")
    if first is None and second is None:
        wanted = "SLURM_ARRAY_TASK_ID, _MIN and _COUNT, or RANK and WORLD_SIZE"
        raise argparse.ArgumentTypeError(f"'env' needs the environment of a Slurm array or of torchrun: {wanted}")
    task, tasks, rank, size = 0, 1, 0, 1
    if first is not None:
        number, lowest, tasks = first
        task, rest = divmod(number - lowest, read_numbers(environ, "SLURM_ARRAY_TASK_STEP", default="1")[0] or 1)
        if rest or not 0 <= task < tasks:
            raise argparse.ArgumentTypeError(
                f"'env': task {number} of a Slurm array with gaps; number it 0-{tasks - 1}"
            )
    if second is not None:
        rank, size = second
        if not rank < size:
            raise argparse.ArgumentTypeError(f"'env': RANK is {rank}; it must be below WORLD_SIZE, which is {size}")
    local = read_numbers(environ, "LOCAL_RANK")
    return Shard(task * size + rank, tasks * size, local[0] if local else None)


def read_numbers(environ: Mapping[str, str], *names: str, default: str | None = None) -> list[int] | None:
    """The values of all these variables as whole numbers, or None."""
    values = [environ.get(name, default) or "" for name in names]
    return [int(value) for value in values] if all(value.isdecimal() for value in values) else None
