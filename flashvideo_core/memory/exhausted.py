"""Out of memory: which exceptions mean it, and in which phase of a run it happened."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..errors import first_sentence

PHASES = {
    "text": "the text encoder",
    "stage1": "stage 1",
    "draft_decode": "the decoding of the draft",
    "handoff": "the hand-off",
    "stage2": "stage 2",
    "decode": "the decoding of the clip",
}
# what torch and cuBLAS raise as a plain RuntimeError; "memory" alone is in bugs too (an illegal memory access)
ALLOCATION_FAILED = (
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "MPS backend out of memory",
)


class PhaseOutOfMemoryError(torch.OutOfMemoryError):
    """The message names the phase, and what is on disk already where `kept` says it."""

    def __init__(self, message: str, kept: str = ""):
        super().__init__(f"{message}; {kept}" if kept else message)
        self.kept = kept


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in ALLOCATION_FAILED)


@contextmanager
def name_phase(phase: str) -> Iterator[None]:
    """Out of memory in here is raised as PhaseOutOfMemoryError; phase as in types.ProgressCallback."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error) or isinstance(error, PhaseOutOfMemoryError):
            raise
        reason = f" ({first_sentence(error)})" if str(error) else ""
        raise PhaseOutOfMemoryError(f"out of memory in {PHASES[phase]}{reason}") from error
