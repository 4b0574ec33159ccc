"""What a training run takes, before anything long starts: memory term by term with its arithmetic, and measured speed.

Bytes per token and width of a block's saved activations are counted, not fitted: under bf16 autocast a LoRA block
keeps 36 on the CPU (tests/test_plan.py counts them) and 52 on CUDA, where autocast runs the four layer norms in
float32 (2 more for each of their inputs and outputs, and 8 for the copies of q and k). Training all weights keeps 10
more, the inputs of the two MLP layers. While a block goes backward its gradients take about 24 beside them.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from ..config import TransformerConfig
from ..dit import Transformer
from .lora import lora_count
from .losses import stage1_loss, stage2_loss
from .options import Options
from .precision import device_of

SAVED = {"cpu": 36, "cuda": 52}
SAVED_FULL, BACKWARD = 10, 24
TRAINED = {"weights": 4, "gradients": 4, "AdamW's two moments": 8, "average (EMA)": 4}  # bytes, all in float32


@dataclass(frozen=True)
class Term:
    """A part of the memory: what it is, how it is counted, its bytes."""

    name: str
    sum: str
    bytes: int


def token_count(config: TransformerConfig, options: Options) -> int:
    """Text and video tokens of the largest clip of a run."""
    t, h, w = largest(options)
    return config.text_length + t * (h // config.patch) * (w // config.patch)


def largest(options: Options) -> tuple[int, int, int]:
    """The largest latent (T, H, W) of a run: whole frames, unless the curriculum has patches alone."""
    return latent_size(options.frames, options.patch if options.curriculum == "patches" else options.size)


def latent_size(frames: int, size: tuple[int, int]) -> tuple[int, int, int]:
    return (frames + 3) // 4, size[0] // 8, size[1] // 8


def memory_terms(config: TransformerConfig, options: Options, itemsize: int, kind: str = "cuda") -> list[Term]:
    """The memory of the device at the peak of a step, and nothing of the VAE and the text encoder: they are gone.

    itemsize is of the frozen weights in bytes (LoRA); kind is "cuda" or "cpu".
    """
    with torch.device("meta"):
        total = sum(p.numel() for p in Transformer(config).parameters())
    tokens, d, layers, batch = token_count(config, options), config.hidden, config.layers, options.batch
    lora = options.mode == "lora"
    trained = lora_count(config, options.rank) if lora else total
    terms = [term("frozen weights", total, itemsize)] if lora else []
    terms += [term(f"trained {name}", trained, size) for name, size in TRAINED.items()]
    terms += [] if lora else [term("bf16 copies of the weights", total, 2)]
    saved = SAVED.get(kind, SAVED["cuda"]) + (0 if lora else SAVED_FULL)
    if options.checkpointing:
        terms.append(term("kept inputs of all blocks", batch, layers, tokens, d, 2))
        terms.append(term("one block computed again", batch, tokens, d, saved))
    else:
        terms.append(term("activations of all blocks", batch, layers, tokens, d, saved))
    terms.append(term("gradients in one block", batch, tokens, d, BACKWARD))
    terms.append(term("attention: sums of its rows", batch, tokens, config.heads, 4))
    terms.append(term("attention: its gradient in float32", batch, tokens, d, 4))
    terms.append(term("latents: z, z_ref, noise, x, output, target", batch, 6, 16, *largest(options), 4))
    return terms


def cache_terms(config: TransformerConfig, options: Options) -> list[Term]:
    """The disk that a clip takes in the cache."""
    latent = latent_size(options.frames, options.size)
    return [
        term(f"latents of a clip: z and {options.variants} references", 1 + options.variants, 16, *latent, 2),
        term("text of a clip", config.text_length, config.text_dim, 4),
    ]


def term(name: str, *factors: int) -> Term:
    product = 1
    for factor in factors:
        product *= factor
    return Term(name, " x ".join(f"{factor:,}" for factor in factors), product)


def plan_lines(config: TransformerConfig, options: Options, itemsize: int, kind: str) -> list[str]:
    """The plan as text, a term a line, sums included."""
    what = f"LoRA of rank {options.rank}" if options.mode == "lora" else "all weights"
    t, h, w = largest(options)
    memory, disk = memory_terms(config, options, itemsize, kind), cache_terms(config, options)
    return [
        f"training stage {options.stage}, {what}, {'with' if options.checkpointing else 'without'} checkpointing",
        f"  batch {options.batch} of {4 * t - 3}x{8 * h}x{8 * w} at most, {token_count(config, options):,} tokens",
        *(line(part) for part in memory),
        line(Term("memory at the peak of a step", "estimate, on one device", sum(part.bytes for part in memory))),
        *(line(part) for part in disk),
        line(Term("cache on disk", "for each clip", sum(part.bytes for part in disk))),
    ]


def line(part: Term) -> str:
    return f"  {part.name:<46}{part.sum:<34}{part.bytes / 1e6:11,.1f} MB"


def measure(
    model: nn.Module, network: Callable, options: Options, autocast: bool, clock: Callable = time.perf_counter
) -> float:
    """Seconds of a step, the mean of three after a first one, on random latents of the run's largest clip."""
    config, device = model.config, device_of(model)
    z = torch.randn(options.batch, 16, *largest(options), device=device)
    txt = torch.randn(options.batch, config.text_length, config.text_dim, device=device)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 0.0)
    generator = torch.Generator().manual_seed(0)
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
