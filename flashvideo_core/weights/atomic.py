"""Files that are whole or not there: every writer of the project goes through `atomic_write`."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A hidden name beside path to write to; it becomes path at the end, and disappears on any error or Ctrl-C."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def save_weights(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Weights for others to load, as safetensors, which by itself writes for the owner alone."""
    with atomic_write(path) as partial:
        save_file(dict(tensors), partial, metadata=dict(metadata))
        partial.chmod(0o644)
