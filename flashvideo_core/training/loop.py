"""One training loop for everything: AdamW, clipping, EMA, bf16 autocast, resumable bit for bit.

The data of a step is a function of (seed, step) alone (randomness.py), so a checkpoint needs no data position: the
loop that resumes at step n draws what the uninterrupted one would have drawn. Several processes run the same loop on
their shards (distributed.py, sharding.py).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import InputError
from .distributed import SINGLE_PROCESS, World, assign_micro_batches, average
from .loss_log import append_log, truncate_log
from .randomness import step_generator
from .sharding import gather_full, to_float
from .state import TrainingState, keep_states, load_state, save_state

MAX_NONFINITE_STEPS = 20  # in a row

LossFn = Callable[[torch.Generator], Tensor]
"""loss_fn(generator) draws a micro-batch from the generator and returns the loss, [], of this process's items."""

OnLoss = Callable[[int, float], None]
"""on_step(step, loss) follows each step, in the first process."""

OnState = Callable[[int, dict[str, Tensor]], None]
"""on_state(steps done, EMA weights by name) follows each saved state, in every process; weights in the first."""


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


def get_learning_rate(config: LoopConfig, step: int) -> float:
    """Linear warm-up, then a cosine down to final_lr * lr."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    low = config.final_lr
    return config.lr * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def fit(
    model: nn.Module,
    loss_fn: LossFn,
    config: LoopConfig,
    folder: Path,
    on_step: OnLoss | None = None,
    world: World = SINGLE_PROCESS,
    on_state: OnState | None = None,
) -> dict[str, Tensor]:
    """Trains the model's parameters that require gradients; returns the EMA weights by name.

    Writes folder/state.pt and folder/loss.csv; a folder with a state is resumed. In a world of several the model is
    sharded, and only the first process writes, reports and gets weights. Raises InputError for a state of another
    model, and when gradients stay NaN or infinite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state, path, log = make_state(model, config), folder / "state.pt", folder / "loss.csv"
    start, nonfinite = load_state(path, state, world), 0
    if world.first:
        truncate_log(log, start)
    for step in range(start, config.steps):
        loss, finite = train_step(state, loss_fn, config, step, world)
        nonfinite = 0 if finite else nonfinite + 1
        check_gradients(nonfinite, step)
        if world.first:
            append_log(log, step, loss, get_learning_rate(config, step))
            if on_step is not None:
                on_step(step, loss)
        if (step + 1) % config.save_every == 0 or step + 1 == config.steps:
            save_state(path, step + 1, state, world)
            if world.first:
                keep_states(path, step + 1, config.keep)
            if on_state is not None:
                on_state(step + 1, gather_full(state.ema, world))
    return gather_full(state.ema, world)


def make_state(model: nn.Module, config: LoopConfig) -> TrainingState:
    """A run before its first step: the average is the parameters, the moments are empty."""
    params = {name: p for name, p in model.named_parameters() if p.requires_grad}
    fused = next(iter(params.values())).device.type == "cuda" or None  # one kernel in place of hundreds
    options = {"betas": config.betas, "weight_decay": config.weight_decay, "fused": fused}
    optimizer = torch.optim.AdamW(params.values(), config.lr, **options)
    return TrainingState(params, {name: p.detach().clone() for name, p in params.items()}, optimizer)


def train_step(
    state: TrainingState, loss_fn: LossFn, config: LoopConfig, step: int, world: World
) -> tuple[float, bool]:
    """One step of all processes: its mean loss, and whether its gradients were finite; weights stay if not."""
    loss = average(accumulate_gradients(state, loss_fn, config, step, world), world)
    norm = torch.nn.utils.clip_grad_norm_(state.params.values(), config.clip)
    for group in state.optimizer.param_groups:
        group["lr"] = get_learning_rate(config, step)
    finite = math.isfinite(to_float(norm))
    if finite:
        state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    state.update_ema(min(config.ema, (step + 1) / (step + 10)))
    return loss, finite


def accumulate_gradients(state: TrainingState, loss_fn: LossFn, config: LoopConfig, step: int, world: World) -> float:
    """Adds the gradients of this process's micro-batches and returns their mean loss."""
    device = next(iter(state.params.values())).device.type
    total, micros = 0.0, assign_micro_batches(world, config.accumulate)
    for micro in micros:
        with torch.autocast(device, dtype=torch.bfloat16, enabled=config.autocast):
            loss = loss_fn(step_generator(config.seed, step, micro)) / len(micros)
        loss.backward()
        total += loss.item()
    return total


def check_gradients(nonfinite: int, step: int) -> None:
    """A step without finite gradients is skipped; many in a row are no accident. Raises InputError then."""
    if nonfinite >= MAX_NONFINITE_STEPS:
        raise InputError(
            f"the gradients of {nonfinite} steps in a row, up to step {step}, were not finite: the loss or its "
            "kernels are broken (try without autocast, or a smaller learning rate)"
        )
