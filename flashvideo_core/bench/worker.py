"""One implementation in a process of its own.

    python -m flashvideo_core.bench.worker WORKLOAD SIZE LATENT IMPLEMENTATION DEVICE DTYPE      # LATENT as 5x16x24

It writes {"ready": true}, then answers each line of stdin with one JSON object: "memory", "time", "matmul" (a rate),
"latent TxHxW", which changes a network's inputs, and "save FILE", which writes the outputs of a run and of its check.
process.py starts it and asks.
"""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import torch
from safetensors.torch import save_file

from ..device import DTYPES
from .memory import peak_bytes
from .networks import make_inputs
from .runs import FindForward, Run, our_forward, prepare_run
from .sizes import find_size, parse_latent
from .timing import matmul_rate, measure_time


@torch.no_grad()
def serve(find_forward: FindForward, arguments: list[str], commands: TextIO) -> Iterator[dict[str, object]]:
    """The answers: one when the workload is ready, then one to each command."""
    workload, size_name, latent, implementation, device_name, dtype_name = arguments
    device, dtype = torch.device(device_name), DTYPES[dtype_name]
    size = find_size(workload, size_name, parse_latent(latent))
    run = prepare_run(find_forward, workload, size, implementation, device, dtype)
    yield {"ready": True}
    for line in commands:
        command, _, argument = line.strip().partition(" ")
        if command == "memory":
            yield {"peak": peak_bytes(run, device)}
        elif command == "time":
            yield measure_time(run, device)
        elif command == "matmul":
            yield {"rate": matmul_rate(device, dtype)}
        elif command == "latent":
            size = find_size(workload, size_name, parse_latent(argument))
            run = replace(run, inputs=tuple(x.to(device, dtype) for x in make_inputs(workload, size)))
            yield {"latent": argument}
        elif command == "save":
            save_outputs(run, Path(argument))
            yield {"saved": argument}


def save_outputs(run: Run, path: Path) -> None:
    outputs = {"run": run(), "check": run.check()}
    save_file({name: value.float().cpu().contiguous() for name, value in outputs.items()}, path)


def main(find_forward: FindForward) -> None:
    """Answers on stdout; what imports write there goes to stderr instead."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for answer in serve(find_forward, sys.argv[1:], sys.stdin):
        channel.write(json.dumps(answer) + "\n")
        channel.flush()


if __name__ == "__main__":
    main(our_forward)
