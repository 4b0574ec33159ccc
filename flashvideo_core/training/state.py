"""What a run changes, on disk: state.pt, from which it goes on bit for bit.

A state holds {"step", "params", "ema": name -> tensor, "optimizer": AdamW's state_dict} with whole tensors, so any
number of processes goes on from it. It is written beside the old one and renamed: a kill leaves one whole state.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..weights.atomic import atomic_write
from .distributed import SINGLE_PROCESS, World, check_agreement
from .sharding import gather_full, get_local_tensors, shard_like


@dataclass(frozen=True)
class TrainingState:
    """The trained parameters by name, their exponential moving average, and the optimizer with its moments."""

    params: dict[str, nn.Parameter]
    ema: dict[str, Tensor]
    optimizer: torch.optim.AdamW

    @torch.no_grad()
    def update_ema(self, decay: float) -> None:
        """ema = decay * ema + (1 - decay) * params, in place."""
        params = get_local_tensors(p.detach() for p in self.params.values())
        torch._foreach_lerp_(get_local_tensors(self.ema.values()), params, 1 - decay)


def save_state(path: Path, step: int, state: TrainingState, world: World) -> None:
    """The state after `step` steps. Collective; the first process writes."""
    whole = gather_full(
        {"step": step, "params": state.params, "ema": state.ema, "optimizer": state.optimizer.state_dict()}, world
    )
    if world.first:
        with atomic_write(path) as partial, partial.open("wb") as file:  # torch's own file hides why a write failed
            torch.save(whole, file)


def keep_states(path: Path, step: int, keep: int) -> None:
    """Gives the newest state a second name, state-STEP.pt, and removes all but the last `keep` of those.

    To go on from an older one, copy it over state.pt.
    """
    if keep < 2:
        return
    named = path.with_name(f"{path.stem}-{step:08d}{path.suffix}")
    with atomic_write(named) as partial:
        try:
            os.link(path, partial)
        except OSError:  # a file system without hard links
            shutil.copyfile(path, partial)
    for old in sorted(path.parent.glob(f"{path.stem}-*{path.suffix}"))[:-keep]:
        old.unlink()


@torch.no_grad()
def load_state(path: Path, state: TrainingState, world: World = SINGLE_PROCESS) -> int:
    """Loads a state in place and returns the step to go on with; 0 when there is none. Collective.

    Raises InputError for the state of another model, and when the processes do not see the same file.
    """
    saved = {"step": 0}
    if path.exists():  # mapped, so that the processes of a host share its memory; Windows cannot replace a mapped file
        saved = torch.load(path, weights_only=True, map_location="cpu", mmap=world.size > 1)
    check_agreement(saved["step"], world, f"the processes do not see the same {path}: the folder must be shared")
    if saved["step"] == 0:
        return 0
    if _get_shapes(saved["params"]) != _get_shapes(state.params):
        raise InputError(f"{path} belongs to another model; choose another folder")
    moments = saved["optimizer"]["state"]  # by the number of the parameter, as torch.optim has it
    for index, (name, p) in enumerate(state.params.items()):
        p.copy_(shard_like(saved["params"][name], p))
        state.ema[name].copy_(shard_like(saved["ema"][name], p))
        moments[index] = {key: shard_like(value, p) for key, value in moments.get(index, {}).items()}
    for group, ours in zip(saved["optimizer"]["param_groups"], state.optimizer.param_groups, strict=True):
        group["fused"] = ours["fused"]  # this device's, whichever the state was saved on
    state.optimizer.load_state_dict(saved["optimizer"])
    return saved["step"]


def _get_shapes(params: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(p.shape) for name, p in params.items()}
