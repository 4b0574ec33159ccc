"""Kills a process while it holds the lock of a clip."""

import os
import signal
import time
from pathlib import Path
from subprocess import Popen

SLOW_ENOUGH = ["--frames", "1", "--height", "16", "--width", "16", "--size", "16x16", "--refine-steps", "1"]
SLOW_ENOUGH += ["--steps", "60"]  # a clip is locked for so long that it is seen on a busy machine, too
PATIENCE = 600.0  # seconds, for a machine that has much else to do


def read_owners(folder: Path) -> set[int]:
    """The processes that hold a clip of the folder."""
    owners = set()
    for lock in folder.glob("*/.flashvideo.lock"):
        try:
            owner = lock.read_text().partition(" ")[0]
        except FileNotFoundError:  # the clip was finished in between
            continue
        owners |= {int(owner)} if owner else set()
    return owners


def kill_at_work(folder: Path, command: Popen) -> None:
    """SIGKILL to the first process that is seen to hold a clip; that the command ends before is an error."""
    deadline = time.monotonic() + PATIENCE
    while not (owners := read_owners(folder)):
        assert time.monotonic() < deadline, "no clip was begun"
        assert command.poll() is None, f"ended before the kill: {command.communicate()}"
        time.sleep(0.01)  # what is waited for needs the processor, too
    os.kill(owners.pop(), signal.SIGKILL)
