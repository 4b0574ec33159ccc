"""Peak memory of a call beyond what is there before it: of CUDA's allocator, or of this process (Linux)."""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # of VmHWM, see proc(5)
# Of mallopt(3): larger blocks are mapped one by one and go back to the system when freed; so does more free heap.
MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
SMALL, LARGE = 64 << 10, 32 << 20  # glibc moves the first up to 32 MiB by itself, and the second to twice the first


def peak_bytes(call: Callable, device: torch.device) -> int | None:
    """Runs the call twice and gives the lower peak: the first also has what a library keeps from its first call on, and
    code that is read again. None where the system does not tell.

    On a CPU every large block is mapped by itself meanwhile, so that what tensors take is counted, without the freed
    blocks below 32 MB that the C library else keeps.
    """
    if device.type == "cuda":
        return min(_peak_on_cuda(call, device) for _ in range(2))
    if not STATUS.exists() or not CLEAR.exists():
        call()
        return None
    libc = ctypes.CDLL(None)
    libc.mallopt(MMAP_THRESHOLD, SMALL)
    libc.mallopt(TRIM_THRESHOLD, SMALL)
    try:
        return min(_peak_here(call, libc) for _ in range(2))
    finally:
        libc.mallopt(MMAP_THRESHOLD, LARGE)
        libc.mallopt(TRIM_THRESHOLD, 2 * LARGE)


def _peak_on_cuda(call: Callable, device: torch.device) -> int:
    gc.collect()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    call()
    return torch.cuda.max_memory_allocated(device) - before


def _peak_here(call: Callable, libc: ctypes.CDLL) -> int:
    gc.collect()
    libc.malloc_trim(0)  # freed pages would be used again unseen
    CLEAR.write_text(RESET_PEAK)
    before = _status("VmRSS")
    call()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024
