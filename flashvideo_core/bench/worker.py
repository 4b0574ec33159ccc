"""One implementation in a process of its own.

    python -m flashvideo_core.bench.worker PART SIZE LATENT NAME DEVICE DTYPE      # LATENT as 5x16x24

It says {"ready": true}, then answers each line of stdin with one JSON object: "memory", "time", "matmul" (a rate), "at
LATENT", which changes a network's inputs, and "save FILE", which writes the outputs of a run and of the probe.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from .memory import peak_bytes
from .paths import sampler, whole_clip
from .sizes import NETWORKS, Size, build_network, find_size, make_inputs, parse_latent, probe_inputs, warm_inputs

MATMUL = {"cpu": 2048, "cuda": 8192}  # side of the square matrices
SUSTAINED = 1.0  # seconds of products: a single one may run faster than any machine can go on
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def timed(call: Callable, device: torch.device) -> dict[str, float | None]:
    """Seconds by the clock and, on a CPU, of the processor over all threads."""
    before = time.process_time()
    spent = seconds(call, device)
    return {"seconds": spent, "processor_seconds": time.process_time() - before if device.type == "cpu" else None}


def seconds(call: Callable, device: torch.device) -> float:
    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    wait()
    start = time.perf_counter()
    call()
    wait()
    return time.perf_counter() - start


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of products of large square matrices, one after the other for a second."""
    side, spent, count = MATMUL[device.type], 0.0, 0
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    out = a @ b
    while spent < SUSTAINED:
        spent, count = spent + seconds(lambda: torch.mm(a, b, out=out), device), count + 1
    return 2 * side**3 * count / spent


def ours(part: str, network: nn.Module, name: str) -> tuple[Callable, Callable]:
    """(run, run_probe) of our network; benchmarks/peers.py has the same of others."""
    run = getattr(network, {"vae-decode": "decode", "vae-encode": "encode", "dit": "forward"}[part])
    return run, run


def prepare(runner: Callable, part: str, size: Size, name: str, device: torch.device, dtype: torch.dtype) -> tuple:
    """(run, run_probe, inputs, inputs of the probe), warmed up; there is no probe of what has no peers."""
    if part not in NETWORKS:
        whole = part == "end-to-end"
        run, inputs, warm = whole_clip(size, device, dtype) if whole else sampler(part, size, device, dtype)
        run(*warm)
        return run, None, inputs, None
    run, run_probe = runner(part, build_network(part, size).to(device, dtype), name)
    inputs = tuple(x.to(device, dtype) for x in make_inputs(part, size))
    run(*warm_inputs(part, inputs))
    return run, run_probe, inputs, probe_inputs(part, inputs)


def serve(
    runner: Callable,
    say: Callable[[dict], None],
    part: str,
    size: str,
    latent: str,
    name: str,
    device: str,
    dtype: str,
) -> None:
    device, dtype, chosen = torch.device(device), DTYPES[dtype], find_size(part, size, parse_latent(latent))
    run, run_probe, inputs, probe = prepare(runner, part, chosen, name, device, dtype)
    say({"ready": True})
    call = partial(run, *inputs)
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command == "memory":
            say({"peak": peak_bytes(call, device)})
        elif command == "time":
            say(timed(call, device))
        elif command == "matmul":
            say({"rate": matmul_rate(device, dtype)})
        elif command == "at":
            chosen = find_size(part, size, parse_latent(argument))
            call = partial(run, *(x.to(device, dtype) for x in make_inputs(part, chosen)))
            say({"at": argument})
        elif command == "save":
            outputs = {"run": call(), "probe": run_probe(*probe)}
            save_file({key: value.float().cpu().contiguous() for key, value in outputs.items()}, Path(argument))
            say({"saved": argument})


def main(runner: Callable) -> None:
    """Serves what `runner(part, our network, name)` gives; see `ours`."""
    channel = os.fdopen(os.dup(1), "w")  # imports may write to stdout; what they say goes to stderr
    os.dup2(2, 1)

    def say(answer: dict) -> None:
        channel.write(json.dumps(answer) + "\n")
        channel.flush()

    with torch.no_grad():
        serve(runner, say, *sys.argv[1:])


if __name__ == "__main__":
    main(ours)
