"""Peak memory of a call beyond what is there before it: of CUDA's allocator, or of this process."""

import gc
import importlib.util
import threading
from collections.abc import Callable

import torch

INTERVAL = 0.0005  # seconds between two looks at the process's memory
RETURN_FREED_BLOCKS = {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=65536:glibc.malloc.trim_threshold=65536"}
"""Environment of a process whose memory is measured: glibc gives every freed block of 64 KiB or more back to the
system. By itself it keeps those below 32 MB, so that a peak would count what no tensor takes. Other C libraries ignore
it."""


def peak_bytes(call: Callable[[], object], device: torch.device) -> int | None:
    """Runs the call twice and gives the lower peak: the first also has what a library keeps from its first call on.

    On a CPU it is the process's resident memory, looked at every half millisecond: a shorter peak may be missed, and
    what fits in small blocks that were freed before counts as 0. None there without the package psutil.
    """
    if device.type == "cuda":
        return min(_peak_on_cuda(call, device) for _ in range(2))
    if importlib.util.find_spec("psutil") is None:
        call()
        return None
    return min(_peak_of_process(call) for _ in range(2))


def _peak_on_cuda(call: Callable[[], object], device: torch.device) -> int:
    before = start_cuda_peak(device)
    call()
    return read_cuda_peak(device, before)


def start_cuda_peak(device: torch.device) -> int:
    """Forgets earlier peaks, and returns the bytes that are there now."""
    gc.collect()
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def read_cuda_peak(device: torch.device, before: int) -> int:
    """The peak since then, beyond what was there."""
    return torch.cuda.max_memory_allocated(device) - before


def _peak_of_process(call: Callable[[], object]) -> int:
    """torch lets other threads run during its operations, so a thread of this process can look."""
    import psutil

    gc.collect()
    process, done = psutil.Process(), threading.Event()
    seen = [process.memory_info().rss]

    def look() -> None:
        while not done.wait(INTERVAL):
            seen.append(process.memory_info().rss)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        call()
    finally:
        done.set()
        thread.join()
    return max(seen) - seen[0]
