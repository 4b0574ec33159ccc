"""Implementations measured alternately in one run, each in a process of its own; and the figures that follow."""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..errors import InputError
from ..memory import free_memory, plan_run, transformer_peak, vae_peak
from ..sizes import clip_size
from .comfyui import comfyui_path, comfyui_python
from .operations import operations
from .paths import pixels
from .sizes import GIVEN, NETWORKS, Latent, Size, find_size
from .worker import DTYPES

PACKAGE_PARENT = Path(__file__).parents[2]
PEERS = PACKAGE_PARENT / "benchmarks" / "peers.py"  # apart, because the package imports none of them


def bench(
    part: str,
    size: str,
    peers: tuple[str, ...] = (),
    repeats: int = 3,
    device: str = "cpu",
    dtype: str = "float32",
    threads: int | None = None,
    callback: Callable | None = None,
    latent: Latent | None = None,
) -> dict:
    """Measures one part at one size; peers are "diffusers" and "comfyui". Returns what the last line prints.

    latent (T, H, W) replaces the one that the size gives to the part.

    Each round runs every implementation once, in turn; ratios (ours / theirs) are medians over the rounds. `error` is
    the largest difference over the largest value on a piece that all take as one group, `difference` that of the
    whole output, where an implementation may group otherwise. Raises ValueError for what is unknown or not installed.
    """
    chosen = find_size(part, size, latent)
    check_bench(part, peers, repeats)
    names, latent = ("ours", *peers), getattr(chosen, GIVEN[part])
    case = (part, size, "x".join(map(str, latent)))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ask = {n: stack.enter_context(worker(n, (*case, n, device, dtype), threads)) for n in names}
        peaks = {name: ask[name]("memory")["peak"] for name in names}
        rounds, rates = [], []
        for i in range(repeats):
            order = names[i % len(names) :] + names[: i % len(names)]
            rates.append(ask["ours"]("matmul")["rate"])
            rounds.append({name: ask[name]("time")["seconds"] for name in order})
            if callback is not None:
                callback(f"{part} {size}", i + 1, repeats, None)
        errors = differences(ask, folder) if peers else {}
    count = operations(part, chosen)
    result = {"part": part, "size": size, "latent": list(latent)} | facts(device, dtype, threads)
    if part not in NETWORKS:
        result["steps"] = list(chosen.steps)
    result |= {"operations": count, "matmul_gflops": median(rates) / 1e9}
    result["share_of_matmul"] = median(count / r["ours"] / rate for r, rate in zip(rounds, rates, strict=True))
    result["planned_peak"] = planned_peak(part, chosen, DTYPES[dtype], torch.device(device))
    result["plan_error"] = result["planned_peak"] / peaks["ours"] - 1 if peaks["ours"] else None
    for name in names:
        spent = median(r[name] for r in rounds)
        result[name] = {"seconds": spent, "gflops": count / spent / 1e9, "peak": peaks[name]}
    for name in peers:
        result[name] |= errors[name] | {"time_ratio": median(r["ours"] / r[name] for r in rounds)}
        result[name]["peak_ratio"] = peaks["ours"] / peaks[name] if peaks["ours"] and peaks[name] else None
    return result


def check_bench(part: str, peers: tuple[str, ...], repeats: int) -> None:
    if repeats < 1:
        raise InputError(f"repeats is {repeats}; it must be at least 1")
    if peers and part not in NETWORKS:
        raise InputError(f"{part} has no peers; they are measured in {', '.join(NETWORKS)}")
    if peers and not PEERS.is_file():
        raise InputError(f"peers are measured from a checkout of the repository, which has {PEERS.name}")
    if "diffusers" in peers and importlib.util.find_spec("diffusers") is None:
        raise InputError("the peer diffusers is not installed: pip install diffusers")
    if "comfyui" in peers and not (comfyui_path() / "comfy").is_dir():
        raise InputError(f"the peer comfyui is not in {comfyui_path()}; set COMFYUI_PATH")


@contextmanager
def worker(name: str, arguments: tuple[str, ...], threads: int | None) -> Iterator[Callable[[str], dict]]:
    """A running worker, as a function from command to answer. ComfyUI's own Python is used where there is one."""
    python = comfyui_python() if name == "comfyui" and comfyui_python().is_file() else sys.executable
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE_PARENT)}
    if threads is not None:
        environment |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    program = ("-m", f"{__package__}.worker") if name == "ours" else (str(PEERS),)
    command = [str(python), *program, *arguments]
    with tempfile.TemporaryFile("w+") as log:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": log, "text": True}
        process = subprocess.Popen(command, env=environment, cwd=PACKAGE_PARENT, **pipes)

        def answer() -> dict:
            line = process.stdout.readline()
            if not line:
                log.seek(0)
                raise InputError(f"{name} failed: {' '.join(log.read().split())[-500:]}")
            return json.loads(line)

        def ask(command: str) -> dict:
            process.stdin.write(command + "\n")
            process.stdin.flush()
            return answer()

        try:
            answer()
            yield ask
        finally:
            process.kill()
            process.wait()


def differences(ask: dict[str, Callable], folder: Path) -> dict[str, dict]:
    """Of every peer from ours, on the probe and on the whole output (None where the shapes differ)."""
    for name, command in ask.items():
        command(f"save {folder / name}.safetensors")
    outputs = {name: load_file(folder / f"{name}.safetensors") for name in ask}
    ours = outputs.pop("ours")
    return {
        name: {
            "error": relative(theirs["probe"], ours["probe"]),
            "difference": relative(theirs["run"], ours["run"]),
        }
        for name, theirs in outputs.items()
    }


def relative(x: Tensor, y: Tensor) -> float | None:
    """Largest difference over largest value. Ours clamps frames, so theirs are clamped too where ours reach 1."""
    if x.shape != y.shape:
        return None
    if y.shape[1] == 3:
        x = x.clamp(-1, 1)
    return ((x - y).abs().max() / y.abs().max()).item()


def planned_peak(part: str, size: Size, dtype: torch.dtype, device: torch.device) -> int:
    """What memory.py says that a run of the part takes beside inputs, and beside weights that are there already."""
    if part.startswith("vae"):
        return vae_peak(size.vae, part.removeprefix("vae-"), clip_size(*size.latent), dtype, device)
    if part == "dit":
        return transformer_peak(size.transformer, 1, size.tokens, dtype.itemsize)
    if part in ("stage1", "stage2"):
        return transformer_peak(getattr(size, part), 2, getattr(size, GIVEN[part]), dtype.itemsize)
    configs = {"stage1": size.stage1, "stage2": size.stage2, "vae": size.vae}
    draft = dict(zip(("height", "width"), pixels(size.draft), strict=True)) | {"frames": 4 * size.draft[0] - 3}
    clip = dict(zip(("height", "width"), pixels(size.tokens), strict=True))
    phases = plan_run(configs, draft, clip, dtype, device, free_memory(device))
    return max(phase["work"] + phase["weights"] * (device.type != "cpu") for phase in phases)


def facts(device: str, dtype: str, threads: int | None) -> dict:
    where = torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else "cpu"
    threads = threads or torch.get_num_threads()
    return {"torch": torch.__version__, "device": where, "dtype": dtype, "threads": threads}
