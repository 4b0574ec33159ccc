"""Training on several GPUs or hosts under torchrun: who computes what, and the few collectives that a loop needs.

    torchrun --nproc-per-node 2 -m flashvideo_core train tiny --folder runs/tiny

A trainer needs four lines, the same ones for one process:

    with init_distributed(device) as world:
        recipe = make_recipe(world)                # its loss computes the items that `assign_items` gives, see below
        shard_model(recipe.model, world)           # sharding.py; after the weights are in place, before the optimizer
        ema = fit(recipe.model, recipe.loss, recipe.loop, folder, on_step, world)

Every process draws the whole step from the same generator and computes its share: of `accumulate` micro-batches as
many as divide evenly, and of each of them its items. FSDP averages the gradients, so N processes make the step that
one would make, within rounding. Sampling from the sharded model and saving it are collective: every process must call
them. Only the first one (`world.first`) writes and reports.

All processes must see the same start weights, the same data and the same folder (several hosts: a shared one).
Needs torch 2.7 or newer; one process does not.
"""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch

from ..errors import InputError

COLLECTIVE_TIMEOUT = timedelta(hours=12)  # one process may make what all need; torchrun ends the others if one dies


@dataclass(frozen=True)
class World:
    """This process among the `size` that train together; the default is a single one, wherever the model is."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.rank == 0

    @property
    def kind(self) -> str:
        """The type of the device: "cpu", "cuda", ..."""
        return torch.device(self.device).type


SINGLE_PROCESS = World()


@contextmanager
def init_distributed(device: str | None = None) -> Iterator[World]:
    """The world that torchrun's environment describes, joined; without torchrun a world of one, and no group.

    device "cuda" (NCCL, one GPU a process) or "cpu" (gloo); None: CUDA where there is one.
    """
    kind = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu")).type
    size = int(os.environ.get("WORLD_SIZE", 1))
    if size == 1:
        yield World(device=device or kind)
        return
    gpu = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if kind == "cuda" else None
    if gpu is not None:
        torch.cuda.set_device(gpu)
    backend = "gloo" if gpu is None else "nccl"
    torch.distributed.init_process_group(backend, timeout=COLLECTIVE_TIMEOUT, device_id=gpu)
    world = World(int(os.environ["RANK"]), size, kind)
    yield world
    # Not after an error: it would wait for the others. Without it a process may leave right after its last gather,
    # while a thread of gloo's still holds that gather's tensors, and Python's end then aborts that thread.
    barrier(world)
    torch.distributed.destroy_process_group()


def assign_micro_batches(world: World, accumulate: int) -> range:
    """Which of a step's `accumulate` micro-batches this process computes."""
    groups = math.gcd(world.size, accumulate)
    return range(world.rank % groups, accumulate, groups)


def assign_items(world: World, accumulate: int, batch_size: int) -> slice:
    """Which items of a micro-batch this process computes, in a step of `accumulate` micro-batches.

    A batch smaller than the number of processes that share it is computed by several alike, so that the mean over
    the processes stays the mean over the items. Raises InputError when it cannot be divided evenly.
    """
    groups = math.gcd(world.size, accumulate)
    rank, size = world.rank // groups, world.size // groups
    if batch_size % size and size % batch_size:
        raise InputError(
            f"a batch of {batch_size} cannot be divided among {size} processes: make it a multiple of {size}"
        )
    start = rank * batch_size // size
    return slice(start, start + max(1, batch_size // size))


def count_duplicates(world: World, accumulate: int, batch_size: int) -> int:
    """How many processes compute each item alike; all above 1 is wasted."""
    return max(1, world.size // math.gcd(world.size, accumulate) // batch_size)


def average(value: float, world: World) -> float:
    """The mean over the processes. Collective."""
    if world.size == 1:
        return value
    total = torch.tensor(value, dtype=torch.float64, device=world.device)
    torch.distributed.all_reduce(total)
    return total.item() / world.size


def check_agreement(value: int, world: World, complaint: str) -> None:
    """Raises InputError(complaint) in all processes unless all of them have the same value. Collective."""
    if world.size == 1:
        return
    values: list[int | None] = [None] * world.size
    torch.distributed.all_gather_object(values, value)
    if len(set(values)) > 1:
        raise InputError(f"{complaint} (processes in order: {values})")


def barrier(world: World) -> None:
    """Returns when every process is here. Collective."""
    if world.size > 1:
        torch.distributed.barrier()
