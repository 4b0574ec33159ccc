"""What runs in each actor of `--ray`: the loaded pipeline, making one clip after the other."""

import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import torch

from ..errors import InputError, WriteError
from ..memory.exhausted import is_out_of_memory
from ..pipeline import Pipeline
from .components import Components, find_components
from .options import ComponentOptions
from .progress import Reporter, warnings_to
from .work import Item, Made, Work, load_once


class ClipActor:
    """One to a GPU, which Ray makes the only one that its process sees. What it says goes to Ray's logs.

    An error that the user can put right travels to the command. Any other may have left the process unusable, as
    CUDA's do: the process ends, and Ray starts another one.
    """

    def __init__(self, threads: int):
        torch.set_num_threads(threads)
        self.reporter = Reporter(sys.stderr, sys.stderr)
        self.pipes: Iterator[Pipeline] | None = None

    def wait_until_ready(self) -> None:
        """Returns when the actor has started."""

    def find_components(
        self, options: ComponentOptions, needed: tuple[str, ...], fallback: dict[str, Path] | None, kernel: str | None
    ) -> tuple[Components, list[str]]:
        """As in components.py, with what is to be said of it."""
        notes: list[str] = []
        return find_components(options, needed, notes.append, fallback, kernel), notes

    def make(self, work: Work[Item], item: Item, components: Components) -> Made:
        self.pipes = self.pipes or load_once(components, self.reporter)
        try:
            with warnings_to(self.reporter):
                return work.make(work.prepare(self.pipes, [item], components), item, components, self.reporter)
        except Exception as error:
            if isinstance(error, InputError | WriteError) or is_out_of_memory(error):
                raise
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
