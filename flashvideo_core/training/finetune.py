"""Training a stage on own clips: the losses and the loop of the embedded model, on a cache, as LoRA or in full.

    python -m flashvideo_core train stage2 --data clips --folder runs/mine --stage2 ... --vae ... --t5 ...

The folder gets cache/ (latents and text; --cache puts it elsewhere, to share), run.json (what is trained), state.pt
and its predecessors, loss.csv, loss.png, samples/ and the result, lora.safetensors or stage1/stage2.safetensors. The
same command goes on from the last state, bit for bit.
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ..attention import attention, plain_attention
from ..checkpoint import load_transformer, metadata_for, open_weights, stored_dtype
from ..errors import InputError
from ..weights.atomic import atomic_write, save_weights
from .batches import CURRICULA, draw, phase_of
from .cache import Entry, digest
from .curves import check_plotting, plot
from .distributed import ALONE, World, copies, rows, shard, wait
from .loop import fit
from .lora import add_lora, lora_tensors
from .losses import drop_text, stage1_loss, stage2_loss
from .options import WITHOUT_EFFECT, Options, loop_config
from .precision import fast_bf16
from .prepare import Place, prepare
from .recompute import recompute_blocks
from .samples import write_sample


def finetune(
    data: Path,
    cache: Path,
    folder: Path,
    options: Options,
    place: Place,
    note: Callable[[str], None],
    progress: Callable[[str, int, int], None],
    world: World = ALONE,
) -> Path:
    """Trains and returns the file of the result. note(text) and progress(phase, step, steps) as in `prepare`.

    Raises ValueError for data or options that cannot be trained on, and for a folder with another run in it.
    """
    check_plotting()
    if world.first and (alike := copies(world, options.accumulate, options.batch)) > 1:
        note(f"{alike} processes compute the same clips: a --batch of {alike * options.batch} would keep all at work")
    source = open_weights(place.files[f"stage{options.stage}"])
    entries = shared_entries(data, cache, source.config, options, place, note, progress, world)
    check_same_run(folder, run_record(options, place, entries), world)
    model = trainable(options, place)
    network = partial(model, attention=plain_attention if place.device.type == "cpu" else attention)
    loss = loss_of(network, entries, options, model.config, place.device, world)
    loop = loop_config(options, autocast=fast_bf16(place.device.type))
    shard(model, world)
    phase = f"stage {options.stage}"

    def on_state(step: int, ema: dict[str, Tensor]) -> None:
        if options.mode == "lora" and world.first:
            export(folder, model, ema, options, place)
        if sample_is_due(step, options):
            write_sample(folder / "samples" / f"step-{step:08d}.mp4", model, entries[0], options, place, world)

    on_step = lambda step, loss: progress(phase, step + 1, options.steps)  # noqa: E731
    ema = fit(model, loss, loop, folder, on_step, world, on_state)
    if world.first:
        plot(folder / "loss.png", {phase: folder / "loss.csv"})
        export(folder, model, ema, options, place)
    return result_path(folder, options)


def sample_is_due(step: int, options: Options) -> bool:
    """Whether a multiple of sample_every lies between the state before and this one; and at the end."""
    every = options.sample_every
    return every > 0 and (step == options.steps or step // every > (step - options.save_every) // every)


def shared_entries(
    data: Path, cache: Path, config, options: Options, place: Place, note: Callable, progress: Callable, world: World
) -> list[Entry]:
    """The cache, filled by the first process; the others then find it complete."""
    make = partial(prepare, data, cache, config, options, place)
    entries = make(note, progress) if world.first else []
    wait(world)
    return entries or make(lambda text: None, lambda *step: None)


def trainable(options: Options, place: Place) -> nn.Module:
    """The stage on its device, with what is to be trained in float32 and requiring gradients."""
    path = place.files[f"stage{options.stage}"]
    torch.manual_seed(options.seed)  # the start of the LoRA
    if options.mode == "lora":
        model = add_lora(load_transformer(path, dtype=place.dtype), options.rank, options.alpha)
    else:
        model = load_transformer(path, dtype=torch.float32).requires_grad_(True)
    model = model.to(place.device).train()
    return recompute_blocks(model) if options.checkpointing else model


def loss_of(
    network: Callable, entries: Sequence[Entry], options: Options, config, device: torch.device, world: World = ALONE
) -> Callable[[torch.Generator], Tensor]:
    """The loss of one micro-batch as a function of its generator: what is drawn, dropped, noised, and how."""
    patch = (options.patch[0] // 8, options.patch[1] // 8)
    mine = rows(world, options.accumulate, options.batch)

    def loss(generator: torch.Generator) -> Tensor:
        phase = phase_of(CURRICULA[options.curriculum], generator, options.steps)
        batch = draw(entries, phase, options.batch, patch, config.defaults.ref_step, generator, mine)
        txt = drop_text(batch.txt, options.text_drop, generator).to(device)
        z = batch.z.to(device) * config.latent_scale
        if config.objective == "v":
            return stage1_loss(network, z, txt, generator, mine)
        z_ref = batch.z_ref.to(device) * config.latent_scale
        return stage2_loss(network, z, z_ref, txt, batch.ref_step, generator, mine)

    return loss


def run_record(options: Options, place: Place, entries: Sequence[Entry]) -> dict:
    """What the weights of a run depend on, as JSON."""
    kept = {name: value for name, value in dataclasses.asdict(options).items() if name not in WITHOUT_EFFECT}
    names = [[file.name for file in (entry.z, *entry.refs, entry.txt)] for entry in entries]
    start = place.hashes[f"stage{options.stage}"]
    record = {"options": kept, "weights": start, "dtype": str(place.dtype), "device": place.device.type}
    return json.loads(json.dumps(record | {"clips": len(entries), "data": digest(names)}))


def check_same_run(folder: Path, record: dict, world: World = ALONE, begun: str = "state.pt") -> None:
    """Writes run.json, or raises ValueError when what is in the folder (`begun` is) belongs to another run."""
    path = folder / "run.json"
    if (folder / begun).exists() and path.exists():
        before = json.loads(path.read_text())
        for name, value in (record["options"] | record).items():
            there = (before["options"] | before).get(name)
            if name != "options" and there != value:
                raise InputError(f"{folder} holds another run: {name} is {there} there, {value} here; choose another")
    elif world.first:
        with atomic_write(path) as partial_file:
            partial_file.write_text(json.dumps(record, indent=1) + "\n")


def result_path(folder: Path, options: Options) -> Path:
    return folder / ("lora.safetensors" if options.mode == "lora" else f"stage{options.stage}.safetensors")


def export(folder: Path, model: nn.Module, ema: dict[str, Tensor], options: Options, place: Place) -> None:
    """The result from the EMA weights: a LoRA in the dtype that its base has in training, or the whole stage."""
    source = open_weights(place.files[f"stage{options.stage}"])
    if options.mode == "lora":
        tensors = lora_tensors(model, ema, place.dtype)
        metadata = {"base": json.dumps(place.hashes[f"stage{options.stage}"]), "format": "pt"}
        metadata |= {name: str(getattr(options, name)) for name in ("stage", "rank", "alpha", "steps")}
    else:
        tensors = {name: value.detach().cpu().to(stored_dtype(source)).contiguous() for name, value in ema.items()}
        inherited = {name: value for name, value in source.metadata.items() if name != "source_sha256"}
        metadata = inherited | metadata_for(source.config)
    save_weights(result_path(folder, options), tensors, metadata)
