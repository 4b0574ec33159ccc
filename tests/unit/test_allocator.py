"""Freed memory is used again on the CPU: pages are not asked for a second time."""

import os
import platform
import subprocess
import sys

import pytest

from flashvideo_core.cli.allocator import LARGEST

COUNT_FAULTS = """
import resource, sys
from flashvideo_core.cli.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    block = b"x" * int(sys.argv[2])
    del block
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def count_faults(mode: str, size: int, **environment: str) -> int:
    """Page faults of a process that makes and drops ten blocks."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")} | environment
    command = [sys.executable, "-c", COUNT_FAULTS, mode, str(size)]
    return int(subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator is glibc's")
def test_a_block_is_made_of_pages_that_are_there():
    size = 40 << 20  # more than glibc ever learns by itself (32 MB)
    pages = size // os.sysconf("SC_PAGE_SIZE")
    assert count_faults("kept", size) < 2 * pages < 9 * pages < count_faults("as it is", size)
    assert count_faults("kept", 2 * LARGEST) > 9 * pages  # the system's, as before
    assert count_faults("kept", size, MALLOC_MMAP_THRESHOLD_="100000") > 9 * pages
