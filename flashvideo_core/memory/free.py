"""Free memory of a device."""

import os

import torch

from ..errors import InputError

USABLE_SHARE = 0.7  # of the free memory; the rest is fragmentation and what others take


def free_memory(device: torch.device) -> int:
    """Bytes that a pass on this device may take. Raises InputError where nothing tells.

    On a CUDA device what the driver has free, and what torch's allocator holds without using it (as
    comfy.model_management.get_free_memory counts): freed tensors stay with the allocator, which takes them first.
    """
    if device.type != "cuda":
        return available_memory()
    stats = torch.cuda.memory_stats(device)  # empty before the first tensor
    cached = stats.get("reserved_bytes.all.current", 0) - stats.get("active_bytes.all.current", 0)
    return torch.cuda.mem_get_info(device)[0] + cached


def available_memory() -> int:
    """Bytes of the machine's memory that are free or that the system would give up.

    psutil tells. ComfyUI brings it, but the core's requirements do not have it: without it half of all memory is
    taken for available, since only the total can be asked for by other means (on POSIX systems).
    """
    try:
        import psutil
    except ImportError:
        if not hasattr(os, "sysconf"):
            raise InputError("how much memory is free is unknown without psutil: pip install psutil") from None
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return psutil.virtual_memory().available
