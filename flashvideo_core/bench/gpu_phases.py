"""The phases of a GPU report: each builds random networks of one size on the device and measures them.

Times are the lower of two calls after a first one; peaks are those of CUDA's allocator beyond weights and inputs.
"""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypedDict

import torch
from torch import Tensor, nn

from ..attention import HEAD_DIM
from ..components import Pipeline
from ..config import TransformerConfig, VAEConfig
from ..convert import quantise
from ..dit import Transformer
from ..fp8 import keep_fp8
from ..kernels import FUSED_KERNELS, fused_attention
from ..memory import transformer_peak, vae_peak
from ..pipeline import generate
from ..types import AttentionFn
from ..vae import VAE
from ..vae_chunks import ChunkSize
from ..windows import Grid, Window, bind_window
from .memory import read_cuda_peak, start_cuda_peak
from .operations import count_decode, count_encode, count_transformer
from .sizes import Latent, Size
from .timing import MATMUL_SIDE, elapsed_seconds, matmul_rate, synchronize


class Row(TypedDict):
    """One line of the table; None where a figure makes no sense or could not be had."""

    what: str
    seconds: float | None
    operations: float | None
    peak: int | None
    planned: int | None
    note: str


@dataclass(frozen=True)
class Case:
    """What every phase is given. dtype is that of weights and products."""

    size: Size
    device: torch.device
    dtype: torch.dtype
    attention: AttentionFn


EMPTY = Row(what="", seconds=None, operations=None, peak=None, planned=None, note="")


def measure_matmul(case: Case) -> list[Row]:
    """A large matrix product, many in a row: the ceiling that the other rates are read against."""
    operations = 2.0 * MATMUL_SIDE[case.device.type] ** 3
    seconds = operations / matmul_rate(case.device, case.dtype)
    return [Row(**EMPTY | {"what": "large matrix product", "seconds": seconds, "operations": operations})]


def measure_attention(case: Case) -> list[Row]:
    """Every fused kernel on the sequence of stage 2, one branch."""
    config, rows = case.size.stage2, []
    t, h, w = case.size.clip_latent
    tokens = config.text_length + t * (h // config.patch) * (w // config.patch)
    q = torch.randn(1, config.heads, tokens, HEAD_DIM, device=case.device, dtype=case.dtype)
    operations = 4.0 * tokens**2 * config.hidden
    if case.device.type != "cuda":
        return [measure(case, f"attention, {tokens} tokens", lambda: case.attention(q, q, q), operations)]
    for name, kernel in FUSED_KERNELS.items():
        name = f"attention {name}, {tokens} tokens"
        rows.append(measure(case, name, lambda kernel=kernel: fused_attention(q, q, q, kernel), operations))
    return rows


def measure_stage1(case: Case) -> list[Row]:
    return measure_transformer(case, "stage 1", case.size.stage1, case.size.draft_latent)


def measure_stage2(case: Case) -> list[Row]:
    return measure_transformer(case, "stage 2", case.size.stage2, case.size.clip_latent)


def measure_windows(case: Case) -> list[Row]:
    name, window = f"stage 2 over windows of {case.size.window}", case.size.window
    return measure_transformer(case, name, case.size.stage2, case.size.clip_latent, window=window)


def measure_fp8(case: Case) -> list[Row]:
    """Stage 1 with its linear layers in fp8, whose weights are made whole at each use."""
    return measure_transformer(case, "stage 1 in fp8", case.size.stage1, case.size.draft_latent, fp8=True)


def measure_transformer(
    case: Case, name: str, config: TransformerConfig, latent: Latent, fp8: bool = False, window: Window | None = None
) -> list[Row]:
    """One evaluation of one branch, and of both branches of guidance in one batch."""
    dit, rows = make_random(Transformer, config, case), []
    if fp8:
        quantise_layers(dit)
    for batch, said in ((1, "one branch"), (2, "both branches")):
        x = torch.randn(batch, config.latent_channels, *latent, device=case.device, dtype=case.dtype)
        txt = torch.randn(batch, config.text_length, config.text_dim, device=case.device, dtype=case.dtype)
        timestep = torch.full((batch,), 500.0, device=case.device)
        planned = transformer_peak(config, batch, latent, case.dtype.itemsize, fp8)
        grid, attend = Grid.of(x, txt, config.patch), case.attention
        attend = attend if window is None else bind_window(attend, grid, window, case.device)
        call = partial(dit, x, timestep, txt, attention=attend)
        operations = batch * count_transformer(config, latent, window)
        rows.append(measure(case, f"{name}, {said}", call, operations, planned=planned))
    return rows


def measure_vae(case: Case) -> list[Row]:
    """Encode and decode of the clip, whole and a frame a chunk."""
    vae, rows = make_random(VAE, case.size.vae, case), []
    t, h, w = case.size.clip_latent
    clip = (4 * t - 3, 8 * h, 8 * w)
    z = torch.randn(1, case.size.vae.latent_channels, t, h, w, device=case.device)
    frames = torch.rand(1, 3, *clip, device=case.device) * 2 - 1
    passes = {"decode": (vae.decode, z, count_decode), "encode": (vae.encode, frames, count_encode)}
    for kind, (run, given, count) in passes.items():
        for pixels, said in ((None, "whole"), (clip[1] * clip[2], "a frame a chunk")):
            planned = vae_peak(case.size.vae, kind, clip, case.dtype, case.device, pixels)
            call = lambda run=run, given=given, pixels=pixels: run(given, chunk_size=ChunkSize(pixels))  # noqa: E731
            operations = count(case.size.vae, case.size.clip_latent)
            rows.append(measure(case, f"VAE {kind}, {said}", call, operations, planned=planned))
    return rows


def measure_compile(case: Case) -> list[Row]:
    """One block's worth of torch.compile on stage 1: what it saves an evaluation, and what it takes to compile."""
    dit = make_random(Transformer, case.size.stage1, case)
    config, latent = case.size.stage1, case.size.draft_latent
    x = torch.randn(1, config.latent_channels, *latent, device=case.device, dtype=case.dtype)
    txt = torch.randn(1, config.text_length, config.text_dim, device=case.device, dtype=case.dtype)
    timestep = torch.full((1,), 500.0, device=case.device)
    for block in dit.blocks:
        block.compile()
    start = time.perf_counter()
    call = lambda: dit(x, timestep, txt, attention=case.attention)  # noqa: E731
    try:
        call()
    except Exception as error:  # inductor raises many types; what it cannot compile is a result here
        return [Row(**EMPTY | {"what": "stage 1, blocks compiled", "note": f"failed: {type(error).__name__}"})]
    compiling = time.perf_counter() - start
    operations = count_transformer(config, latent)
    return [measure(case, "stage 1, one branch, blocks compiled", call, operations, f"{compiling:.0f} s to compile")]


def measure_clip(case: Case) -> list[Row]:
    """`generate` from text embeddings to frames, one network on the device at a time; one call."""
    size, device = case.size, case.device
    classes = {"stage1": Transformer, "stage2": Transformer, "vae": VAE}
    networks = {name: make_random(cls, getattr(size, name), case).to("cpu") for name, cls in classes.items()}
    stages = (("stage1", size.stage1), ("stage2", size.stage2))
    txt = {name: torch.randn(1, config.text_length, config.text_dim) for name, config in stages}
    pipe = Pipeline(**networks, text=None, embeddings=txt, device=device, dtype=case.dtype, attention=case.attention)
    (t, h, w), (_, height, width) = size.draft_latent, size.clip_latent
    sizes = {"frames": 4 * t - 3, "height": 8 * h, "width": 8 * w, "size": (8 * height, 8 * width)}
    steps = {"steps": size.steps[0], "refine_steps": size.steps[1]}
    phases, times = [], [time.perf_counter()]

    def on_progress(phase: str, step: int, total: int, preview: Callable[[], Tensor] | None) -> None:
        synchronize(device)
        phases.append(phase)
        times.append(time.perf_counter())

    generate(pipe, "", **sizes, **steps, callback=on_progress)
    synchronize(device)
    rows = []
    for phase in dict.fromkeys(phases):  # from the phase before's last step, so moving the network counts too
        seconds = sum(end - start for p, start, end in zip(phases, times, times[1:], strict=False) if p == phase)
        rows.append(Row(**EMPTY | {"what": f"clip: {phase}", "seconds": seconds}))
    total = time.perf_counter() - times[0]
    return [*rows, Row(**EMPTY | {"what": "clip: all", "seconds": total, "note": "networks wait in host memory"})]


Phase = Callable[[Case], list[Row]]
PHASES: dict[str, Phase] = {
    "matmul": measure_matmul,
    "attention": measure_attention,
    "stage1": measure_stage1,
    "stage2": measure_stage2,
    "windows": measure_windows,
    "fp8": measure_fp8,
    "vae": measure_vae,
    "compile": measure_compile,
    "clip": measure_clip,
}


def make_random(cls: type[nn.Module], config: TransformerConfig | VAEConfig, case: Case) -> nn.Module:
    """A network on the device with random weights of a plausible size; nothing passes through the host."""
    with torch.device("meta"):
        network = cls(config)
    network = network.to(case.dtype).to_empty(device=case.device).requires_grad_(False).eval()
    for parameter in network.parameters():
        if parameter.ndim > 1:
            parameter.normal_(0.0, parameter[0].numel() ** -0.5)
        else:
            parameter.fill_(0.5)
    return network


def quantise_layers(network: nn.Module) -> None:
    """Puts all linear layers into fp8, in place."""
    linear = {name: layer for name, layer in network.named_modules() if isinstance(layer, nn.Linear)}
    quantised = {name: quantise(layer.weight.float()) for name, layer in linear.items()}
    keep_fp8(network, {name: scale.item() for name, (_, scale) in quantised.items()})
    for name, (weight, _) in quantised.items():
        network.get_submodule(name).weight.data = weight


def measure(
    case: Case, what: str, call: Callable[[], Tensor], operations: float, note: str = "", planned: int | None = None
) -> Row:
    """The lower time of two calls, and the peak of the last, after one that warms up. Out of memory is a result."""
    try:
        call()
        seconds, peak = min(time_call(call, case.device) for _ in range(2))
    except torch.OutOfMemoryError:
        free_cache(case.device)
        return Row(**EMPTY | {"what": what, "planned": planned, "note": "does not fit this card"})
    except RuntimeError as error:  # torch's way to say that a kernel does not do this
        return Row(**EMPTY | {"what": what, "planned": planned, "note": str(error).splitlines()[0][:80]})
    return Row(what=what, seconds=seconds, operations=operations, peak=peak, planned=planned, note=note)


def time_call(call: Callable[[], Tensor], device: torch.device) -> tuple[float, int | None]:
    """Seconds, and the peak bytes of CUDA's allocator beyond what is there already."""
    free_cache(device)
    before = start_cuda_peak(device) if device.type == "cuda" else None
    seconds = elapsed_seconds(call, device)
    return seconds, None if before is None else read_cuda_peak(device, before)


def free_cache(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
