"""Peak memory of a call beyond what is there before it: of CUDA's allocator, or of this process (Linux)."""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # of VmHWM, see proc(5)


def peak_bytes(call: Callable, device: torch.device) -> int | None:
    """Runs the call once. None where the system does not tell."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    if not STATUS.exists() or not CLEAR.exists():
        call()
        return None
    ctypes.CDLL(None).malloc_trim(0)  # freed pages would be used again unseen
    CLEAR.write_text(RESET_PEAK)
    before = _status("VmRSS")
    call()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024
