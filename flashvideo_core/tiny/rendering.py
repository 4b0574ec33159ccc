"""What costs numpy's time (clips, captions), made by several processes while the networks work on what came before."""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from itertools import islice
from multiprocessing import get_context

import torch
from torch import Tensor

Clips = dict[str, Tensor]
"""Clips [3, F, h, w] in -1..1 by name, or batches [B, ...] of them."""

RenderClips = Callable[[int], Clips]
"""render(index) -> what is made of training clip `index`. A function of a module, so that processes can be sent it."""

MOST = 16  # processes: each takes some 300 MB
AHEAD = 2  # groups that are made while one is used
ALL = 2**62  # of them: more than there are


@contextmanager
def open_renderers(processes: int | None = None) -> Iterator[Executor]:
    """Processes of one thread each, by default one for each of up to MOST cores that this one may use; they start when
    there is work. They are new ones: a fork of a process that has started CUDA or OpenMP threads may hang."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = processes or min(MOST, cores)
    renderers = ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_begin)
    try:
        yield renderers
    finally:
        renderers.shutdown(cancel_futures=True)


def render_ahead(
    render: RenderClips, groups: Sequence[Sequence[int]], renderers: Executor | None = None, ahead: int = AHEAD
) -> Iterator[Clips]:
    """The clips of each group of indices, in one batch. renderers: as opened above, which begin at once with the first
    `ahead` groups, and are that many ahead from then on; None renders here, when it is asked for."""
    if renderers is None:
        return (_stack([render(index) for index in group]) for group in groups)
    submitted = ([renderers.submit(_render_arrays, render, index) for index in group] for group in groups)
    waiting = deque(islice(submitted, ahead))
    return _take_all(waiting, submitted)


def split_evenly(indices: range, size: int) -> list[range]:
    """Ranges of `size` indices; the last has what is left."""
    return [indices[i : i + size] for i in range(0, len(indices), size)]


def _begin() -> None:
    torch.set_num_threads(1)
    if hasattr(os, "nice"):
        os.nice(5)  # the networks come first
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the first process's to handle


def _render_arrays(render: RenderClips, index: int) -> dict:
    """As arrays, which are sent by value: torch sends handles of shared memory, of which containers have little."""
    return {name: clip.numpy() for name, clip in render(index).items()}


def _take_all(waiting: deque[list[Future]], submitted: Iterator[list[Future]]) -> Iterator[Clips]:
    while waiting:
        waiting.extend(islice(submitted, 1))
        yield _take(waiting.popleft())


def _take(group: Sequence[Future]) -> Clips:
    return _stack([{name: torch.from_numpy(clip) for name, clip in future.result().items()} for future in group])


def _stack(clips: Sequence[Clips]) -> Clips:
    return {name: torch.stack([clip[name] for clip in clips]) for name in clips[0]}
