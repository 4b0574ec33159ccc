"""A command in a process that kills itself (SIGKILL) at a chosen place."""

import multiprocessing
import os
import signal
from dataclasses import dataclass
from multiprocessing.process import BaseProcess as Process

from flashvideo_core import clip_parts, solver_file
from flashvideo_core.cli import state_file
from flashvideo_core.cli.main import main

FORKS = multiprocessing.get_context("forkserver")  # a forked process of one that has run torch may wait for ever
FORKS.set_forkserver_preload([__name__])


@dataclass(frozen=True)
class Kill:
    """After so many states of a stage ("stage1", "stage2") or parts of the video ("parts") are on disk."""

    what: str
    count: int


def run_killed(command: list[str], kill: Kill) -> None:
    """Runs the command until it is killed; every state is kept, and a part is one temporal group."""
    wait_for_kill(start_killed(command, kill))


def start_killed(command: list[str], kill: Kill) -> Process:
    process = FORKS.Process(target=_run, args=(command, kill))
    process.start()
    return process


def wait_for_kill(process: Process) -> None:
    process.join(600)
    assert process.exitcode == -signal.SIGKILL


def _run(command: list[str], kill: Kill) -> None:
    solver_file.SECONDS, clip_parts.SEGMENT = 0.0, 1
    keep, save, seen = state_file.StateFile.keep, clip_parts.save_segment, []

    def count(what: str) -> None:
        seen.append(what)
        if seen.count(kill.what) == kill.count:
            os.kill(os.getpid(), signal.SIGKILL)

    def keep_and_count(states, state):
        keep(states, state)
        count(states.stage)

    def save_and_count(*args):
        save(*args)
        count("parts")

    state_file.StateFile.keep, clip_parts.save_segment = keep_and_count, save_and_count
    main(command)
