"""One training loop for everything: AdamW, clipping, EMA, bf16 autocast, resumable bit for bit.

The data of a step is a function of (seed, step) alone, so a checkpoint needs no data position: the loop
that resumes at step n draws what the uninterrupted one would have drawn. Several processes run the same loop
on their shards (distributed.py); a state is whole, so any number of processes goes on from it.
"""

import csv
import math
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..weights.atomic import atomic_write
from .distributed import ALONE, World, agree, gathered, like, local, mean, micro_batches, scalar

MAX_STEPS = 1_000_003  # what lies between the streams of two seeds
MAX_SKIPPED = 20  # steps in a row whose gradients were not finite


@dataclass(frozen=True)
class LoopConfig:
    """Optimiser and schedule. Betas, weight decay and clipping as in the paper unless a recipe says otherwise."""

    steps: int
    lr: float
    seed: int = 0
    warmup: int = 100
    final_lr: float = 0.05  # of lr, at the end of a cosine
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 1e-4
    clip: float = 1.0
    ema: float = 0.998
    accumulate: int = 1
    autocast: bool = True
    save_every: int = 200
    keep: int = 1  # states: state.pt, and from 2 on also the last ones under their steps


def step_generator(seed: int, step: int, micro: int = 0) -> torch.Generator:
    """The random stream of one micro-batch."""
    return torch.Generator().manual_seed((seed * MAX_STEPS + step) * 64 + micro)


def step_of(generator: torch.Generator) -> int:
    """The step that a generator of `step_generator` was made for, however much was drawn from it."""
    return generator.initial_seed() // 64 % MAX_STEPS


def learning_rate(config: LoopConfig, step: int) -> float:
    """Linear warm-up, then a cosine down to final_lr * lr."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    low = config.final_lr
    return config.lr * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def fit(
    model: nn.Module,
    loss_of: Callable[[torch.Generator], Tensor],
    config: LoopConfig,
    folder: Path,
    on_step: Callable[[int, float], None] | None = None,
    world: World = ALONE,
    on_state: Callable[[int, dict[str, Tensor]], None] | None = None,
) -> dict[str, Tensor]:
    """Trains model's parameters that require gradients; returns the EMA weights by name.

    `loss_of(generator)` draws a batch from the generator and returns its loss. Writes folder/state.pt
    (atomic) and folder/loss.csv; a folder with a state is resumed. In a world of several the model is sharded,
    loss_of returns the loss of this process's rows, and only the first process writes, reports and gets weights.
    `on_state(steps done, EMA weights)` follows each saved state, in every process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    params = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(params.values(), config.lr, betas=config.betas, weight_decay=config.weight_decay)
    ema = {name: p.detach().clone() for name, p in params.items()}
    start = resume(folder / "state.pt", params, ema, optimizer, world)
    log, skipped = folder / "loss.csv", 0
    if world.first:
        _truncate_log(log, start)
    for step in range(start, config.steps):
        loss = mean(_backward(loss_of, config, step, next(iter(params.values())).device.type, world), world)
        norm = torch.nn.utils.clip_grad_norm_(params.values(), config.clip)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, step)
        finite = math.isfinite(scalar(norm))
        skipped = 0 if finite else skipped + 1
        check_learning(skipped, step)
        if finite:
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        _update_ema(ema, params, min(config.ema, (step + 1) / (step + 10)))
        if world.first:
            _append(log, step, loss, learning_rate(config, step))
            if on_step is not None:
                on_step(step, loss)
        if (step + 1) % config.save_every == 0 or step + 1 == config.steps:
            save_state(folder / "state.pt", step + 1, params, ema, optimizer, world)
            if world.first:
                keep_states(folder / "state.pt", step + 1, config.keep)
            if on_state is not None:
                on_state(step + 1, gathered(ema, world))
    return gathered(ema, world)


def check_learning(skipped: int, step: int) -> None:
    """A step without finite gradients is skipped; many in a row are no accident. Raises ValueError then."""
    if skipped >= MAX_SKIPPED:
        raise InputError(
            f"the gradients of {skipped} steps in a row, up to step {step}, were not finite: the loss or its "
            "kernels are broken (try without autocast, or a smaller learning rate)"
        )


def _backward(loss_of: Callable, config: LoopConfig, step: int, device: str, world: World) -> float:
    """Adds the gradients of this process's micro-batches and returns their mean loss."""
    total, micros = 0.0, micro_batches(world, config.accumulate)
    for micro in micros:
        with torch.autocast(device, dtype=torch.bfloat16, enabled=config.autocast):
            loss = loss_of(step_generator(config.seed, step, micro)) / len(micros)
        loss.backward()
        total += loss.item()
    return total


@torch.no_grad()
def _update_ema(ema: dict[str, Tensor], params: dict[str, nn.Parameter], decay: float) -> None:
    torch._foreach_lerp_(local(ema.values()), local(p.detach() for p in params.values()), 1 - decay)


def save_state(path: Path, step: int, params: dict, ema: dict, optimizer: torch.optim.Optimizer, world: World) -> None:
    """Writes beside the old state and renames, so that a kill leaves one whole state."""
    state = gathered({"step": step, "params": params, "ema": ema, "optimizer": optimizer.state_dict()}, world)
    if world.first:
        with atomic_write(path) as partial:
            torch.save(state, partial)


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
def resume(path: Path, params: dict, ema: dict, optimizer: torch.optim.Optimizer, world: World = ALONE) -> int:
    """Loads a state in place and returns the step to go on with; 0 when there is none."""
    state = {"step": 0}
    if path.exists():  # mapped, so that the processes of a host share its memory; Windows cannot replace a mapped file
        state = torch.load(path, weights_only=True, map_location="cpu", mmap=world.size > 1)
    if agree(state["step"], world, f"the processes do not see the same {path}: the folder must be shared") == 0:
        return 0
    if _shapes(state["params"]) != _shapes(params):
        raise InputError(f"{path} belongs to another model; choose another folder")
    for name, p in params.items():
        p.copy_(like(state["params"][name], p))
        ema[name].copy_(like(state["ema"][name], p))
    moments = state["optimizer"]["state"]
    for index, p in enumerate(params.values()):
        moments[index] = {name: like(value, p) for name, value in moments.get(index, {}).items()}
    optimizer.load_state_dict(state["optimizer"])
    return state["step"]


def _shapes(params: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(p.shape) for name, p in params.items()}


def _truncate_log(path: Path, start: int) -> Path:
    """Drops the lines that a killed run wrote after its last state."""
    rows = list(csv.reader(path.open()))[: start + 1] if path.exists() else [["step", "loss", "lr"]]
    with atomic_write(path) as partial, partial.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def _append(path: Path, *row) -> None:
    with path.open("a", newline="") as file:
        csv.writer(file).writerow(row)


def read_log(path: Path) -> Iterable[tuple[int, float]]:
    """(step, loss) of every line of a loss.csv."""
    with path.open() as file:
        return [(int(row["step"]), float(row["loss"])) for row in csv.DictReader(file)]
