"""Training a stage on own clips: the losses and the loop of the embedded model, on a cache, as LoRA or in full.

    python -m flashvideo_core train stage2 --data clips --folder runs/mine --stage2 ... --vae ... --t5 ...

The folder gets cache/ (latents and text; --cache puts it elsewhere, to share), run.json (what is trained), state.pt
and its predecessors, loss.csv, loss.png, samples/ and the result, lora.safetensors or stage1/stage2.safetensors. The
same command goes on from the last state, bit for bit.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..checkpoint import load_transformer, open_weights
from ..config import TransformerConfig
from ..sizes import latent_size
from ..types import Model, Notify, ProgressCallback
from .activation_checkpointing import enable_activation_checkpointing
from .batches import sample_batch
from .cache import CachedClip
from .curriculum import CURRICULA, find_phase
from .device import choose_training_attention, is_bf16_fast
from .distributed import SINGLE_PROCESS, World, assign_items, barrier, count_duplicates
from .loop import LossFn, fit
from .lora import add_lora
from .loss_log import check_matplotlib, plot_losses
from .losses import Stage2Model, drop_text, stage1_loss, stage2_loss
from .options import TrainingOptions, make_loop_config
from .prepare import WeightFiles, prepare_cache
from .randomness import seed_initialization
from .result import export_result, get_result_path
from .run_record import check_same_run, make_run_record
from .samples import write_sample
from .sharding import shard_model

T = TypeVar("T")


@dataclass(frozen=True)
class RunPaths:
    """Where a run reads its clips (a folder or a CSV), keeps its latents and text, and writes everything else."""

    data: Path
    cache: Path
    folder: Path


def finetune(
    paths: RunPaths,
    options: TrainingOptions,
    weights: WeightFiles,
    notify: Notify,
    progress: ProgressCallback,
    world: World = SINGLE_PROCESS,
) -> Path:
    """Trains and returns the file of the result; phases of progress are "latents" and "stage 1" or "stage 2".

    Raises InputError for data or options that cannot be trained on, and for a folder with another run in it.
    """
    check_matplotlib()
    notify_of_duplicates(options, notify, world)
    config = open_weights(weights.files[f"stage{options.stage}"]).config
    prepare = partial(prepare_cache, paths.data, paths.cache, config, options, weights)
    clips = share_preparation(prepare, notify, progress, world)
    check_same_run(paths.folder, make_run_record(options, weights, clips), world)
    model = load_trainable(options, weights)
    network = partial(model, attention=choose_training_attention(weights.device.type))
    loss_fn = make_loss_fn(network, clips, options, model.config, weights.device, world)
    return fit_stage(
        paths.folder, model, loss_fn, clips[0], options, weights, f"stage {options.stage}", progress, world
    )


def fit_stage(
    folder: Path,
    model: nn.Module,
    loss_fn: LossFn,
    clip: CachedClip,
    options: TrainingOptions,
    weights: WeightFiles,
    phase: str,
    progress: ProgressCallback,
    world: World = SINGLE_PROCESS,
    about: Mapping[str, str] = MappingProxyType({}),
) -> Path:
    """Trains a stage and returns the file of the result; states, log and samples of `clip` go into the folder.

    phase is what progress calls it; about: what the result's metadata tells besides. loss_fn calls the model, which is
    sharded here.
    """
    shard_model(model, world)

    def on_step(step: int, loss: float) -> None:
        progress(phase, step + 1, options.steps, None)

    def on_state(step: int, ema: dict[str, Tensor]) -> None:
        if options.mode == "lora" and world.first:
            export_result(folder, model, ema, options, weights, about)
        if is_sample_due(step, options):
            sample = folder / "samples" / f"step-{step:08d}.mp4"
            write_sample(sample, model, clip, options, weights, world)

    loop = make_loop_config(options, autocast=is_bf16_fast(weights.device.type))
    ema = fit(model, loss_fn, loop, folder, on_step, world, on_state)
    if world.first:
        plot_losses(folder / "loss.png", {phase: folder / "loss.csv"})
        export_result(folder, model, ema, options, weights, about)
    return get_result_path(folder, options)


def notify_of_duplicates(options: TrainingOptions, notify: Notify, world: World) -> None:
    """Says once that several processes compute the same clips, where they do."""
    duplicates = count_duplicates(world, options.accumulate, options.batch)
    if world.first and duplicates > 1:
        batch = duplicates * options.batch
        notify(f"{duplicates} processes compute the same clips: a --batch of {batch} would keep all at work")


def is_sample_due(step: int, options: TrainingOptions) -> bool:
    """Whether a multiple of sample_every lies between the state before and this one; and at the end."""
    every = options.sample_every
    return every > 0 and (step == options.steps or step // every > (step - options.save_every) // every)


def share_preparation(
    prepare: Callable[[Notify, ProgressCallback], list[T]], notify: Notify, progress: ProgressCallback, world: World
) -> list[T]:
    """What prepare(notify, progress) lists, with the cache filled by the first process; the others then find it
    complete, and say nothing. Collective."""
    prepared = prepare(notify, progress) if world.first else []
    barrier(world)
    return prepared or prepare(lambda text: None, lambda *step: None)


def load_trainable(options: TrainingOptions, weights: WeightFiles) -> nn.Module:
    """The stage on its device, with what is to be trained in float32 and requiring gradients."""
    path = weights.files[f"stage{options.stage}"]
    if options.mode == "lora":
        model = load_transformer(path, dtype=weights.dtype)
        with seed_initialization(options.seed):
            add_lora(model, options.rank, options.alpha, options.layers)
    else:
        model = load_transformer(path, dtype=torch.float32).requires_grad_(True)
    model = model.to(weights.device).train()
    return enable_activation_checkpointing(model) if options.checkpointing else model


def make_loss_fn(
    network: Model | Stage2Model,
    clips: Sequence[CachedClip],
    options: TrainingOptions,
    config: TransformerConfig,
    device: torch.device,
    world: World = SINGLE_PROCESS,
) -> LossFn:
    """The loss of one micro-batch as a function of its generator: what is sampled, dropped and noised."""
    patch = latent_size(1, *options.patch)[1:]
    items = assign_items(world, options.accumulate, options.batch)

    def loss_fn(generator: torch.Generator) -> Tensor:
        phase = find_phase(CURRICULA[options.curriculum], generator, options.steps)
        batch = sample_batch(clips, phase, options.batch, patch, config.defaults.ref_step, generator, items)
        txt = drop_text(batch.txt, options.text_drop, generator).to(device)
        z = batch.z.to(device) * config.latent_scale
        if config.objective == "v":
            return stage1_loss(network, z, txt, generator, items)
        z_ref = batch.z_ref.to(device) * config.latent_scale
        return stage2_loss(network, z, z_ref, txt, batch.ref_step, generator, items)

    return loss_fn
