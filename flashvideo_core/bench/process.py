"""A worker seen from the process that started it (worker.py: the worker itself)."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from ..errors import InputError
from .memory import RETURN_FREED_BLOCKS
from .sizes import Latent, Size, find_size, format_latent
from .timing import CallTime

PACKAGE_PARENT = Path(__file__).parents[2]
OURS, WINDOWS = "ours", "windows"  # of the package itself; "windows": attention over the size's window
OTHERS = ("diffusers", "comfyui")
PEERS = PACKAGE_PARENT / "benchmarks" / "peers.py"  # apart, because the package imports none of them


@dataclass(frozen=True)
class BenchJob:
    """A workload at a named size (at another latent where one is named), and what it runs on. Raises InputError."""

    workload: str
    size_name: str
    latent: Latent | None = None
    device: str = "cpu"
    dtype: str = "float32"
    threads: int | None = None

    def __post_init__(self) -> None:
        find_size(self.workload, self.size_name, self.latent)

    @property
    def size(self) -> Size:
        return find_size(self.workload, self.size_name, self.latent)

    @property
    def run_latent(self) -> Latent:
        return self.size.latent_of(self.workload)


class Worker:
    """A running worker; every method waits for its answer."""

    def __init__(self, implementation: str, process: subprocess.Popen, log: TextIO):
        self.implementation, self.process, self.log = implementation, process, log

    def request(self, command: str) -> dict[str, Any]:
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.read_answer()

    def read_answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            self.log.seek(0)
            raise InputError(f"{self.implementation} failed: {' '.join(self.log.read().split())[-500:]}")
        return json.loads(line)

    def measure_peak(self) -> int | None:
        """Bytes, see memory.py."""
        return self.request("memory")["peak"]

    def measure_time(self) -> CallTime:
        return self.request("time")

    def measure_matmul(self) -> float:
        """Operations a second."""
        return self.request("matmul")["rate"]

    def set_latent(self, latent: Latent) -> None:
        self.request(f"latent {format_latent(latent)}")

    def save_outputs(self, path: Path) -> None:
        self.request(f"save {path}")


@contextmanager
def start_worker(
    job: BenchJob, implementation: str = "ours", environment: Mapping[str, str] | None = None
) -> Iterator[Worker]:
    """A worker that is ready; it is ended on leaving. Raises InputError with its last words where it fails."""
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE_PARENT), **(environment or {})}
    if job.threads is not None:
        environment |= {"OMP_NUM_THREADS": str(job.threads), "MKL_NUM_THREADS": str(job.threads)}
    program = (str(PEERS),) if implementation in OTHERS else ("-m", f"{__package__}.worker")
    arguments = (job.workload, job.size_name, format_latent(job.run_latent), implementation, job.device, job.dtype)
    with tempfile.TemporaryFile("w+") as log:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": log, "text": True}
        process = subprocess.Popen([sys.executable, *program, *arguments], env=environment, cwd=PACKAGE_PARENT, **pipes)
        worker = Worker(implementation, process, log)
        try:
            worker.read_answer()
            yield worker
        finally:
            process.kill()
            process.wait()


def start_memory_worker(job: BenchJob, implementation: str = "ours") -> AbstractContextManager[Worker]:
    """A worker for `measure_peak` alone: what it frees goes back to the system, which costs time."""
    return start_worker(job, implementation, RETURN_FREED_BLOCKS)
