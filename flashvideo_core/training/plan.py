"""What a training run takes, before anything long starts: memory term by term with its arithmetic, and measured speed.

Bytes per token and width of a block's saved activations are counted, not fitted: under bf16 autocast a LoRA block
keeps 36 on the CPU (tests/unit/test_plan.py counts them) and 52 on CUDA, where autocast runs the four layer norms in
float32 (2 more for each of their inputs and outputs, and 8 for the copies of q and k). Training all weights or a LoRA
beside the MLPs keeps 10 more, the inputs of their two layers. While a block goes backward its gradients take about 24
beside them.
"""

import math
import time
from dataclasses import dataclass

import torch
from torch import nn

from ..config import TransformerConfig
from ..dit import Transformer
from ..sizes import latent_size
from ..types import Clock
from .device import get_device
from .lora import count_lora_parameters
from .losses import Stage2Model, stage1_loss, stage2_loss
from .options import TrainingOptions

ACTIVATION_BYTES = {"cpu": 36, "cuda": 52}  # saved by a LoRA block, per token and width
FULL_ACTIVATION_BYTES = 10  # more, when all weights are trained
BACKWARD_BYTES = 24  # gradients in a block while it goes backward, per token and width
PARAMETER_BYTES = {"weights": 4, "gradients": 4, "AdamW's two moments": 8, "average (EMA)": 4}  # all in float32


@dataclass(frozen=True)
class MemoryTerm:
    """A summand of the memory: what it is, the product that counts it, and its bytes."""

    name: str
    formula: str
    bytes: int


def count_tokens(config: TransformerConfig, options: TrainingOptions) -> int:
    """Text and video tokens of the largest clip of a run."""
    t, h, w = get_largest_latent(options)
    return config.text_length + t * (h // config.patch) * (w // config.patch)


def get_largest_latent(options: TrainingOptions) -> tuple[int, int, int]:
    """The largest latent (T, H, W) of a run: whole frames, unless the curriculum has patches alone."""
    return latent_size(options.frames, *(options.patch if options.curriculum == "patches" else options.size))


def plan_memory(
    config: TransformerConfig, options: TrainingOptions, itemsize: int, device_type: str = "cuda"
) -> list[MemoryTerm]:
    """The memory of the device at the peak of a step, and nothing of the VAE and the text encoder: they are gone.

    itemsize is of the frozen weights in bytes (LoRA); device_type is "cuda" or "cpu".
    """
    return [*_plan_weights(config, options, itemsize), *_plan_activations(config, options, device_type)]


def _plan_weights(config: TransformerConfig, options: TrainingOptions, itemsize: int) -> list[MemoryTerm]:
    with torch.device("meta"):
        total = sum(p.numel() for p in Transformer(config).parameters())
    lora = options.mode == "lora"
    trained = count_lora_parameters(config, options.rank, options.layers) if lora else total
    terms = [make_term("frozen weights", total, itemsize)] if lora else []
    terms += [make_term(f"trained {name}", trained, size) for name, size in PARAMETER_BYTES.items()]
    return terms if lora else [*terms, make_term("bf16 copies of the weights", total, 2)]


def _plan_activations(config: TransformerConfig, options: TrainingOptions, device_type: str) -> list[MemoryTerm]:
    tokens, d, layers, batch = count_tokens(config, options), config.hidden, config.layers, options.batch
    saved = ACTIVATION_BYTES.get(device_type, ACTIVATION_BYTES["cuda"])
    saved += 0 if options.mode == "lora" and options.layers == "released" else FULL_ACTIVATION_BYTES
    if options.checkpointing:
        terms = [
            make_term("kept inputs of all blocks", batch, layers, tokens, d, 2),
            make_term("one block computed again", batch, tokens, d, saved),
        ]
    else:
        terms = [make_term("activations of all blocks", batch, layers, tokens, d, saved)]
    return [
        *terms,
        make_term("gradients in one block", batch, tokens, d, BACKWARD_BYTES),
        make_term("attention: sums of its rows", batch, tokens, config.heads, 4),
        make_term("attention: its gradient in float32", batch, tokens, d, 4),
        make_term("latents: z, z_ref, noise, x, output, target", batch, 6, 16, *get_largest_latent(options), 4),
    ]


def plan_cache(config: TransformerConfig, options: TrainingOptions) -> list[MemoryTerm]:
    """The disk that a clip takes in the cache."""
    latent = latent_size(options.frames, *options.size)
    return [
        make_term(f"latents of a clip: z and {options.variants} references", 1 + options.variants, 16, *latent, 2),
        make_term("text of a clip", config.text_length, config.text_dim, 4),
    ]


def make_term(name: str, *factors: int) -> MemoryTerm:
    """A term that is the product of its factors."""
    return MemoryTerm(name, " x ".join(f"{factor:,}" for factor in factors), math.prod(factors))


def format_plan(config: TransformerConfig, options: TrainingOptions, itemsize: int, device_type: str) -> list[str]:
    """The plan as text, a term a line, sums included."""
    what = f"LoRA of rank {options.rank}" if options.mode == "lora" else "all weights"
    t, h, w = get_largest_latent(options)
    memory, disk = plan_memory(config, options, itemsize, device_type), plan_cache(config, options)
    peak = MemoryTerm("memory at the peak of a step", "estimate, on one device", sum(term.bytes for term in memory))
    cache = MemoryTerm("cache on disk", "for each clip", sum(term.bytes for term in disk))
    return [
        f"training stage {options.stage}, {what}, {'with' if options.checkpointing else 'without'} checkpointing",
        f"  batch {options.batch} of {4 * t - 3}x{8 * h}x{8 * w} at most, {count_tokens(config, options):,} tokens",
        *(_format_term(term) for term in (*memory, peak, *disk, cache)),
    ]


def _format_term(term: MemoryTerm) -> str:
    return f"  {term.name:<46}{term.formula:<34}{term.bytes / 1e6:11,.1f} MB"


def measure_step(
    model: nn.Module,
    network: Stage2Model,
    options: TrainingOptions,
    autocast: bool,
    clock: Clock = time.perf_counter,
) -> float:
    """Seconds of a step, the mean of three after a first one, on random latents of the run's largest clip.

    network is the model with its attention bound.
    """
    config, device = model.config, get_device(model)
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(options.batch, 16, *get_largest_latent(options), generator=generator).to(device)
    txt = torch.randn(options.batch, config.text_length, config.text_dim, generator=generator).to(device)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 0.0)
    for step in range(4):
        if step == 1:
            begun = clock()
        for _ in range(options.accumulate):
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=autocast):
                if config.objective == "v":
                    loss = stage1_loss(network, z, txt, generator)
                else:
                    loss = stage2_loss(network, z, z, txt, config.defaults.ref_step, generator)
            loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()  # waits for the device
    return (clock() - begun) / 3
