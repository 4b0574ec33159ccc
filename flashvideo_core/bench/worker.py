"""One implementation in a process of its own: `python -m flashvideo_core.bench.worker PART SIZE NAME DEVICE DTYPE`.

It says {"ready": true}, then answers each line of stdin with one JSON object: "memory", "time", "matmul" (a rate), and
"save FILE", which writes the outputs of a run and of the probe.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file

from .memory import peak_bytes
from .peers import runner
from .sizes import SIZES, build_network, make_inputs, probe_inputs

MATMUL = {"cpu": 1024, "cuda": 8192}  # side of the square matrices
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def seconds(call: Callable, device: torch.device) -> float:
    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    wait()
    start = time.perf_counter()
    call()
    wait()
    return time.perf_counter() - start


def matmul_rate(device: torch.device, dtype: torch.dtype, repeats: int = 5) -> float:
    """Operations a second of the best of a few products of large square matrices."""
    side = MATMUL[device.type]
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / min(seconds(lambda: a @ b, device) for _ in range(repeats + 1))


def serve(part: str, size: str, name: str, device: str, dtype: str, say: Callable[[dict], None]) -> None:
    device, dtype = torch.device(device), DTYPES[dtype]
    ours = build_network(part, SIZES[size]).to(device, dtype)
    _, run, run_probe = runner(part, ours, name)
    inputs = tuple(x.to(device, dtype) for x in make_inputs(part, SIZES[size]))
    probe = probe_inputs(part, inputs)
    del ours
    warm = tuple(x[..., :4, :4] for x in probe) if part == "vae-decode" else probe
    run(*(tuple(x[..., :32, :32] for x in probe) if part == "vae-encode" else warm))
    say({"ready": True})
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command == "memory":
            say({"peak": peak_bytes(lambda: run(*inputs), device)})
        elif command == "time":
            say({"seconds": seconds(lambda: run(*inputs), device)})
        elif command == "matmul":
            say({"rate": matmul_rate(device, dtype)})
        elif command == "save":
            outputs = {"run": run(*inputs), "probe": run_probe(*probe)}
            save_file({key: value.float().cpu().contiguous() for key, value in outputs.items()}, Path(argument))
            say({"saved": argument})


def main() -> None:
    channel = os.fdopen(os.dup(1), "w")  # imports may write to stdout; what they say goes to stderr
    os.dup2(2, 1)

    def say(answer: dict) -> None:
        channel.write(json.dumps(answer) + "\n")
        channel.flush()

    with torch.no_grad():
        serve(*sys.argv[1:], say=say)


if __name__ == "__main__":
    main()
