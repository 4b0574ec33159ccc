"""Kills processes while they hold the lock of a clip."""

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


def kill_at_work(folder: Path, commands: list[Popen], processes: set[int] | None = None) -> None:
    """SIGKILL to each process when it is first seen to hold a clip; without `processes` to one, whichever it is.

    commands: are at work on the folder; that one ends before is an error.
    """
    deadline, left = time.monotonic() + PATIENCE, processes
    while left is None or left:
        assert time.monotonic() < deadline, f"no clip was begun by {left or 'any process'}"
        ends = {command.poll() for command in commands}
        assert ends <= {None, -signal.SIGKILL}, f"a command ended before the kill: {ends}"
        for owner in read_owners(folder):
            if left is None or owner in left:
                os.kill(owner, signal.SIGKILL)
                left = (left or {owner}) - {owner}
        time.sleep(0.01)  # what is waited for needs the processor, too
