"""Work for the actors of a Ray cluster that says what becomes of it; a module of its own, which they import."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from flashvideo_core.cli.work import Made
from flashvideo_core.errors import InputError


@dataclass(frozen=True)
class OddWork:
    """Items are words: "killed", "broken" and "refused" are what their making comes to; others are made."""

    folder: Path

    def prepare(self, pipes, items, components):
        return pipes

    def make(self, pipes, item, components, reporter):
        with (self.folder / item).open("a") as log:
            log.write(f"{os.getpid()}\n")
        if item == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if item == "broken":
            raise RuntimeError("a device that is no longer what it was")
        if item == "refused":
            raise InputError("this item is refused")
        return Made(item, os.getpid(), self.folder / item)
