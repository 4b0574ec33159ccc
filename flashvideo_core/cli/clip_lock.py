"""One process at a time writes a clip: of two commands with the same output, the later one is refused.

The lock is the kernel's (flock), so that of a process that was killed is free at once; its file is removed with it.
Where there is no flock (Windows, some network drives) nothing is locked. On NFS, Linux turns flock into a lock of the
server's (man 2 flock), which other machines see unless the drive is mounted with `nolock` or `local_lock`, and which
the server gives up some time after the machine that holds it has died.
"""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..errors import InputError

try:
    import fcntl
except ImportError:
    fcntl = None

PATIENCE = 30.0  # seconds for other processes to write a file that all of them add to


@contextmanager
def lock_clip(path: Path) -> Iterator[None]:
    """Holds the lock file at path. Raises InputError while another process has it."""
    descriptor = _open_locked(path) if fcntl else None
    try:
        yield
    finally:
        if descriptor is not None:
            path.unlink(missing_ok=True)  # before the lock is given up: whoever waits finds that it locked nothing
            os.close(descriptor)


@contextmanager
def wait_for_lock(path: Path) -> Iterator[None]:
    """`lock_clip`, which waits for others for a while. Raises InputError."""
    deadline = time.monotonic() + PATIENCE
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(lock_clip(path))
                break
            except InputError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        yield


def _open_locked(path: Path) -> int | None:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:  # the folder went with the last clip of another process
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(descriptor, 300).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise InputError(
                f"{path.parent} is being written by another process ({owner}); choose another --output, or wait"
            ) from None
        except OSError:  # no locks on this drive
            os.close(descriptor)
            path.unlink(missing_ok=True)
            return None
        if _is_same_file(descriptor, path):
            os.truncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()} on {socket.gethostname()}".encode())
            return descriptor
        os.close(descriptor)  # its owner removed it between our two steps


def _is_same_file(descriptor: int, path: Path) -> bool:
    """The name is opened, not looked up: NFS asks the server again for an open, and may answer others from memory."""
    try:
        now = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return os.path.samestat(os.fstat(descriptor), os.fstat(now))
    finally:
        os.close(now)
