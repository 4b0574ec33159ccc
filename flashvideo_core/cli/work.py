"""The clips of a command as work that can be given away, and this process doing it one clip after the other.

What a command makes is a Work: a frozen dataclass, so that it can travel to a process elsewhere as the items do. Items
and what comes back are small; clips are files.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Protocol, TypeVar

from ..pipeline import Pipeline
from .components import Components, find_components
from .options import ComponentOptions
from .progress import Reporter

Item = TypeVar("Item")


@dataclass(frozen=True)
class Made:
    """A clip or draft that is there, and what a program wants to know of it. skipped: it was there before."""

    prompt: str
    seed: int
    path: Path
    skipped: bool = False


class Work(Protocol[Item]):
    """What is done with each item of a command."""

    def prepare(self, pipes: Iterator[Pipeline], items: Sequence[Item], components: Components) -> Iterator[Pipeline]:
        """The pipeline for each of the items, with what is better done for several at once done."""

    def make(self, pipes: Iterator[Pipeline], item: Item, components: Components, reporter: Reporter) -> Made:
        """Takes the next pipeline if there is anything to make. Raises what a command raises."""


class Makers(Protocol):
    """Who makes the clips of a command. in_order: one after the other, as they are listed."""

    in_order: bool

    def find_components(
        self, needed: Iterable[str], fallback: dict[str, Path] | None = None, kernel: str | None = None
    ) -> Components:
        """As in components.py, where the clips will be made."""

    def make_all(self, work: Work[Item], items: Sequence[Item], components: Components) -> Iterator[tuple[int, Made]]:
        """What becomes of each item with its position among them, when it is done."""


@dataclass(frozen=True)
class ThisProcess:
    """The maker of a command without --ray."""

    options: ComponentOptions
    reporter: Reporter
    in_order: bool = True

    def find_components(
        self, needed: Iterable[str], fallback: dict[str, Path] | None = None, kernel: str | None = None
    ) -> Components:
        return find_components(self.options, needed, self.reporter.note, fallback, kernel)

    def make_all(self, work: Work[Item], items: Sequence[Item], components: Components) -> Iterator[tuple[int, Made]]:
        pipes = work.prepare(load_once(components, self.reporter), items, components)
        for position, item in enumerate(items):
            yield position, work.make(pipes, item, components, self.reporter)


def load_once(components: Components, reporter: Reporter) -> Iterator[Pipeline]:
    """The same pipeline again and again, loaded when it is first asked for."""
    yield from repeat(components.load(reporter.progress))
