"""A model's weights spread over the processes (FSDP2), and whole tensors to and from their shards.

Parameters, gradients, moments and their average are DTensors then; in one process all of these functions give back what
they are given. What is gathered or saved from a sharded model is collective: every process must call it.

torch.distributed.checkpoint.state_dict has helpers for whole states (get_model_state_dict and the like). Tried with
torch 2.13.0, they take modules and optimizers only, and the average of the weights is neither, so that `gather_full`
and `shard_like` would have to stay beside them; and set_optimizer_state_dict refuses the state files that exist, whose
moments are numbered as torch.optim numbers them, not named.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .distributed import World


def shard_model(model: nn.Module, world: World) -> nn.Module:
    """Shards a transformer in place, block by block and then the rest, and returns it; alone: does nothing.

    Weights are gathered in bfloat16 on CUDA (for use under autocast) and in their own type on the CPU; gradients are
    averaged in float32. Inputs keep their type: bfloat16 would round the timestep 675 to 676.
    """
    if world.size == 1:
        return model
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
    from torch.distributed.tensor import Shard

    def choose_dim(param: Tensor) -> Shard:
        """The first dimension that divides evenly: the first of a LoRA's is only 1 or 3."""
        even = [dim for dim, length in enumerate(param.shape) if length % world.size == 0]
        return Shard(even[0] if even else 0)

    dtype = torch.bfloat16 if world.device == "cuda" else None
    kwargs = {
        "mesh": init_device_mesh(world.device, (world.size,)),
        "mp_policy": MixedPrecisionPolicy(dtype, dtype and torch.float32, cast_forward_inputs=False),
        "shard_placement_fn": choose_dim,
    }
    for block in model.blocks:
        fully_shard(block, **kwargs)
    return fully_shard(model, **kwargs)


def is_sharded(value: object) -> bool:
    """Whether it is a DTensor."""
    return hasattr(value, "full_tensor")


def gather_full(tree: Any, world: World) -> Any:
    """The same nested dict with whole tensors on the first process's CPU and None on the others; alone: as it is.

    One tensor at a time, so a GPU holds no more than one of them whole. Collective.
    """
    if world.size == 1:
        return tree
    if isinstance(tree, Mapping):
        return {name: gather_full(value, world) for name, value in tree.items()}
    if not is_sharded(tree):
        return tree
    whole = tree.detach().full_tensor()
    return whole.cpu() if world.first else None


def shard_like(whole: Tensor, param: Tensor) -> Tensor:
    """A whole tensor, sharded as the parameter is. No communication: every process has the whole one."""
    if not is_sharded(param) or whole.shape != param.shape:
        return whole
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(whole.to(param.device), param.device_mesh, param.placements, src_data_rank=None)


def get_local_tensors(tensors: Iterable[Tensor]) -> list[Tensor]:
    """The shards of tensors that this process holds; whole tensors stay."""
    return [tensor.to_local() if is_sharded(tensor) else tensor for tensor in tensors]


def to_float(scalar: Tensor) -> float:
    """The number in a tensor of one element; collective when that is spread over the processes."""
    return (scalar.full_tensor() if is_sharded(scalar) else scalar).item()
