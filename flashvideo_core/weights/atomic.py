"""Files that are whole or not there: every writer of the project goes through `atomic_write`."""

import errno
import glob
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from ..errors import InputError, WriteError

MAX_NAME = 255  # bytes of a file name, on every common file system
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no space, none left of a quota, a file over the allowed size


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A hidden name beside path to write to; it becomes path at the end, and disappears on any error or Ctrl-C.

    Raises WriteError when the disk is full.
    """
    partial = path.with_name(f"{_temporary_stem(path)}{os.getpid()}.part")
    try:
        with name_full_disk(path):
            yield partial
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A hidden folder beside path to write into; it takes path's place at the end, and disappears on any error or
    Ctrl-C. Raises WriteError when the disk is full."""
    partial = path.with_name(f"{_temporary_stem(path)}{os.getpid()}.part")
    try:
        with name_full_disk(path):
            partial.mkdir()
            yield partial
            shutil.rmtree(path, ignore_errors=True)
            os.replace(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def name_full_disk(path: Path) -> Iterator[None]:
    """A full disk in here is raised as a WriteError that names the file."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        found = re.search(r"os error (\d+)", str(error)) if isinstance(error, SafetensorError) else None
        code = int(found[1]) if found else getattr(error, "errno", None)
        if code not in FULL:
            raise
        before = ", and is as it was before" if path.exists() else ""
        raise WriteError(f"{path} cannot be written ({os.strerror(code)}){before}") from None


def remove_leftovers(paths: Iterable[Path]) -> None:
    """Removes what killed processes left of writing these files. The caller knows that nobody else writes them."""
    for path in paths:
        for leftover in path.parent.glob(f"{glob.escape(_temporary_stem(path))}*.part"):
            if leftover.name.removeprefix(_temporary_stem(path)).removesuffix(".part").isdigit():
                remove_path(leftover)


def remove_path(path: Path) -> None:
    """A file, or a folder with all that is in it; nothing where there is none or it cannot be removed."""
    with suppress(OSError):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _temporary_stem(path: Path) -> str:
    """The hidden name without the process's number: cut so that a name of 255 bytes can be written, too."""
    return f".{os.fsdecode(os.fsencode(path.name)[: MAX_NAME - len('..4294967295.part')])}."


def save_weights(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Writes a safetensors file that others may read; by itself safetensors writes for the owner alone."""
    with atomic_write(path) as partial:
        save_file(dict(tensors), partial, metadata=dict(metadata))
        partial.chmod(0o644)


def check_writable(folder: str | Path) -> None:
    """Creates the folder where needed and writes a file in it.

    Raises InputError naming the folder if that fails, WriteError when its disk is full.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:  # without a name, so that a killed process leaves none
            probe.write(b"1")
    except OSError as error:
        kind = WriteError if error.errno in FULL else InputError
        raise kind(f"cannot write into the folder {folder}: {error.strerror}") from None
