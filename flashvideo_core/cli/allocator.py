"""What glibc's allocator does with memory that a run on the CPU lets go.

By default it asks the system for every large block and gives it back at once, so that each feature map of the VAE is
made of new pages, which the kernel clears one by one: a fifth of the processor time of a small clip. Source of the
numbers of its options: mallopt(3), malloc.h.
"""

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST = 64 << 20  # bytes of a block that comes out of memory that was let go; larger ones are the system's as before
KEPT = 256 << 20  # bytes of such memory at most


def keep_freed_memory() -> None:
    """Lets this process use freed memory again. Does nothing without glibc, or where the environment says otherwise."""
    if sys.platform != "linux" or {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"} & os.environ.keys():
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST)
        mallopt(M_TRIM_THRESHOLD, KEPT)
