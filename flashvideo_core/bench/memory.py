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
    """Runs the call once. None where the system does not tell.

    On a CPU every large block is mapped by itself meanwhile, so that what tensors take is counted, without the freed
    blocks below 32 MB that the C library else keeps.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    if not STATUS.exists() or not CLEAR.exists():
        call()
        return None
    libc = ctypes.CDLL(None)
    libc.malloc_trim(0)  # freed pages would be used again unseen
    libc.mallopt(MMAP_THRESHOLD, SMALL)
    libc.mallopt(TRIM_THRESHOLD, SMALL)
    CLEAR.write_text(RESET_PEAK)
    before = _status("VmRSS")
    try:
        call()
    finally:
        libc.mallopt(MMAP_THRESHOLD, LARGE)
        libc.mallopt(TRIM_THRESHOLD, 2 * LARGE)
    return _status("VmHWM") - before


def _status(field: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024
