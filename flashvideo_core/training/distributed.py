"""Training on several GPUs or hosts: FSDP2 under torchrun, and nothing at all without it.

    torchrun --nproc-per-node 2 -m flashvideo_core train tiny --folder runs/tiny

A trainer needs four lines, the same ones for one process:

    with join(device) as world:
        recipe = recipe_of(world)                  # its loss computes the rows that `rows` gives, see below
        shard(recipe.model, world)                 # after the weights are in place, before the optimizer
        ema = fit(recipe.model, recipe.loss, recipe.loop, folder, on_step, world)

Every process draws the whole step from the same generator and computes its share: of `accumulate` micro-batches as
many as divide evenly, and of each of them its rows. FSDP averages the gradients, so N processes make the step that
one would make, within rounding. Parameters, gradients, moments and EMA are sharded (DTensor); a saved state holds
whole tensors, so any number of processes goes on from it. What is drawn, saved or sampled with the sharded model is
collective: every process must call it. Only the first one (`world.first`) writes and reports.

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
from torch import Tensor, nn

from ..errors import InputError

PATIENCE = timedelta(hours=12)  # while one process makes what all need; torchrun itself ends the others if one dies


@dataclass(frozen=True)
class World:
    """This process among the `size` that train together; the default is alone, on whatever device the model has."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    @property
    def first(self) -> bool:
        return self.rank == 0


ALONE = World()


@contextmanager
def join(device: str | None = None) -> Iterator[World]:
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
    torch.distributed.init_process_group(backend, timeout=PATIENCE, device_id=gpu)
    yield World(int(os.environ["RANK"]), size, kind)
    torch.distributed.destroy_process_group()  # after an error it would wait for the others


def micro_batches(world: World, count: int) -> range:
    """Which of a step's `count` micro-batches this process computes."""
    groups = math.gcd(world.size, count)
    return range(world.rank % groups, count, groups)


def rows(world: World, count: int, batch: int) -> slice:
    """Which items of a micro-batch of `batch` this process computes, in a step of `count` micro-batches.

    A batch smaller than the number of processes that share it is computed by several alike, so that the mean over
    the processes stays the mean over the items. ValueError when it cannot be divided evenly.
    """
    groups = math.gcd(world.size, count)
    rank, size = world.rank // groups, world.size // groups
    if batch % size and size % batch:
        raise InputError(f"a batch of {batch} cannot be divided among {size} processes: make it a multiple of {size}")
    start = rank * batch // size
    return slice(start, start + max(1, batch // size))


def copies(world: World, count: int, batch: int) -> int:
    """How many processes compute each item alike, in a step of `count` micro-batches; all above 1 is wasted."""
    return max(1, world.size // math.gcd(world.size, count) // batch)


def shard(model: nn.Module, world: World) -> nn.Module:
    """Shards a transformer in place, block by block and then the rest (FSDP2), and returns it; alone: does nothing.

    Weights are gathered in bfloat16 on CUDA (for use under autocast) and in their own type on the CPU; gradients are
    averaged in float32. Inputs keep their type: bfloat16 would round the timestep 675 to 676.
    """
    if world.size == 1:
        return model
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
    from torch.distributed.tensor import Shard

    def place(param: Tensor) -> Shard:
        """Along the first dimension that divides evenly: the first of a LoRA's is only 1 or 3."""
        even = [dim for dim, length in enumerate(param.shape) if length % world.size == 0]
        return Shard(even[0] if even else 0)

    dtype = torch.bfloat16 if world.device == "cuda" else None
    how = {
        "mesh": init_device_mesh(world.device, (world.size,)),
        "mp_policy": MixedPrecisionPolicy(dtype, dtype and torch.float32, cast_forward_inputs=False),
        "shard_placement_fn": place,
    }
    for block in model.blocks:
        fully_shard(block, **how)
    return fully_shard(model, **how)


def gathered(tree, world: World):
    """The same nested dict with whole tensors on the first process's CPU and None on the others; alone: as it is.

    One tensor at a time, so a GPU holds no more than one of them whole. Collective.
    """
    if world.size == 1:
        return tree
    if isinstance(tree, dict):
        return {name: gathered(value, world) for name, value in tree.items()}
    if not is_sharded(tree):
        return tree
    whole = tree.detach().full_tensor()
    return whole.cpu() if world.first else None


def is_sharded(value) -> bool:
    return hasattr(value, "full_tensor")


def like(whole: Tensor, param: Tensor) -> Tensor:
    """A whole tensor, sharded as the parameter is. No communication: every process has the whole one."""
    if not is_sharded(param) or whole.shape != param.shape:
        return whole
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(whole.to(param.device), param.device_mesh, param.placements, src_data_rank=None)


def local(values) -> list[Tensor]:
    """The shards of tensors that this process holds; whole tensors stay."""
    return [value.to_local() if is_sharded(value) else value for value in values]


def scalar(value: Tensor) -> float:
    """The number in a tensor of one element; collective when that is spread over the processes."""
    return (value.full_tensor() if is_sharded(value) else value).item()


def mean(value: float, world: World) -> float:
    """The mean over the processes. Collective."""
    if world.size == 1:
        return value
    total = torch.tensor(value, dtype=torch.float64, device=world.device)
    torch.distributed.all_reduce(total)
    return total.item() / world.size


def agree(value: int, world: World, complaint: str) -> int:
    """The value, if all processes have the same; ValueError(complaint) in all of them if not. Collective."""
    if world.size > 1:
        values: list = [None] * world.size
        torch.distributed.all_gather_object(values, value)
        if len(set(values)) > 1:
            raise InputError(f"{complaint} (processes in order: {values})")
    return value


def wait(world: World) -> None:
    """Returns when every process is here. Collective."""
    if world.size > 1:
        torch.distributed.barrier()
