"""Files that are whole or not there: every writer of the project goes through `atomic_write`."""

import glob
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from ..errors import InputError

MAX_NAME = 255  # bytes of a file name, on every common file system


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A hidden name beside path to write to; it becomes path at the end, and disappears on any error or Ctrl-C."""
    partial = path.with_name(f"{_temporary_stem(path)}{os.getpid()}.part")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def remove_leftovers(paths: Iterable[Path]) -> None:
    """Removes what killed processes left of writing these files. The caller knows that nobody else writes them."""
    for path in paths:
        for leftover in path.parent.glob(f"{glob.escape(_temporary_stem(path))}*.part"):
            if leftover.name.removeprefix(_temporary_stem(path)).removesuffix(".part").isdigit():
                with suppress(OSError):
                    leftover.unlink()


def _temporary_stem(path: Path) -> str:
    """The hidden name without the process's number: cut so that a name of 255 bytes can be written, too."""
    return f".{os.fsdecode(os.fsencode(path.name)[: MAX_NAME - len('..4294967295.part')])}."


def save_weights(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Writes a safetensors file that others may read; by itself safetensors writes for the owner alone."""
    with atomic_write(path) as partial:
        save_file(dict(tensors), partial, metadata=dict(metadata))
        partial.chmod(0o644)


def check_writable(folder: str | Path) -> None:
    """Creates the folder where needed and writes a file in it; raises InputError naming the folder if that fails."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".writable-") as probe:
            probe.write(b"1")
    except OSError as error:
        raise InputError(f"cannot write into the folder {folder}: {error.strerror}") from None
