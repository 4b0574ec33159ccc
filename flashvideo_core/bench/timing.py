"""Time of a call, and the rate of large matrix products to set it against."""

import time
from collections.abc import Callable
from typing import TypedDict

import torch

MATMUL_SIDE = {"cpu": 2048, "cuda": 8192}
SUSTAINED = 1.0  # seconds of products: a single one may run faster than any machine can go on


class CallTime(TypedDict):
    """Seconds by the clock and, on a CPU, of the processor over all threads."""

    seconds: float
    processor_seconds: float | None


def measure_time(call: Callable[[], object], device: torch.device) -> CallTime:
    """Runs the call once, and waits for the device."""
    before = time.process_time()
    seconds = elapsed_seconds(call, device)
    on_cpu = device.type == "cpu"
    return {"seconds": seconds, "processor_seconds": time.process_time() - before if on_cpu else None}


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of products of large square matrices, one after the other for a second."""
    side, spent, count = MATMUL_SIDE[device.type], 0.0, 0
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    out = a @ b
    while spent < SUSTAINED:
        spent, count = spent + elapsed_seconds(lambda: torch.mm(a, b, out=out), device), count + 1
    return 2 * side**3 * count / spent


def elapsed_seconds(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call by the clock, from an idle device to an idle device."""
    synchronize(device)
    start = time.perf_counter()
    call()
    synchronize(device)
    return time.perf_counter() - start


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
