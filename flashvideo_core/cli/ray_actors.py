"""`--ray`: the clips of a command made by actors of a Ray cluster, each of which holds the loaded pipeline.

Ray's ActorPool.map_unordered is not used: it ties a clip to its actor. With Ray's own retries the clip of a lost actor
waits until that actor is back, for ever if its machine is gone; without them the first lost actor ends the iterator.
Here the clip goes back to the list, whoever is free takes it, and the actor gets clips again when Ray has restarted it.
What was finished of the clip is on disk and is gone on from (making.py).
"""

import collections
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch

from ..errors import InputError
from .components import Components
from .options import ComponentOptions
from .progress import Reporter, describe_rate
from .ray_cluster import connect, count_actors, start_actors
from .work import Item, Made, Work

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.actor import ActorHandle

MAX_TRIES = 3  # of a clip, after so many lost actors


@contextmanager
def open_actors(where: str, count: int | None, options: ComponentOptions, reporter: Reporter) -> Iterator["RayActors"]:
    """Actors of a cluster (ray_cluster.connect), which end with the command. Raises InputError."""
    with connect(where, count, reporter) as cluster:
        on_gpus = cluster.gpus > 0 if options.device is None else options.device.startswith("cuda")
        actors = start_actors(count_actors(cluster, count, on_gpus), torch.get_num_threads(), on_gpus)
        yield RayActors(actors, options, reporter)


@dataclass
class Assignment:
    """What is to be made, by whom. tries: of clips whose actors were lost; idle: actors for which nothing was left."""

    waiting: collections.deque[int]
    running: dict["ObjectRef", tuple["ActorHandle", int | None]] = field(default_factory=dict)
    idle: list["ActorHandle"] = field(default_factory=list)
    tries: collections.Counter[int] = field(default_factory=collections.Counter)
    lost: list[int] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        """Whether there is anything to wait for; an actor that restarts is not waited for without a clip for it."""
        return bool(self.waiting) or any(position is not None for _, position in self.running.values())

    def hand_out(self, make: "MakeCall") -> None:
        """Clips for idle actors, as far as there are any."""
        while self.waiting and self.idle:
            actor, position = self.idle.pop(), self.waiting.popleft()
            self.running[make(actor, position)] = (actor, position)

    def put_back(self, actor: "ActorHandle", position: int | None) -> str | None:
        """The clip of a lost actor goes to the end of the list, and the actor is waited for. What is to be said."""
        self.running[actor.wait_until_ready.options(max_task_retries=-1).remote()] = (actor, None)
        if position is None:
            return None
        self.tries[position] += 1
        given_up = self.tries[position] == MAX_TRIES
        (self.lost if given_up else self.waiting).append(position)
        return f"an actor was lost, its clip is {f'given up after {MAX_TRIES} actors' if given_up else 'made again'}"


class MakeCall(Protocol):
    """make(actor, position) has the actor make the clip at that position of the list."""

    def __call__(self, actor: "ActorHandle", position: int, /) -> "ObjectRef": ...


@dataclass(frozen=True)
class RayActors:
    """The makers of a command with --ray; `Makers` in work.py."""

    actors: list["ActorHandle"]
    options: ComponentOptions
    reporter: Reporter
    in_order: bool = False

    def find_components(
        self, needed: Iterable[str], fallback: dict[str, Path] | None = None, kernel: str | None = None
    ) -> Components:
        """By an actor: where this command runs there need be no GPU."""
        find = self.actors[0].find_components.options(max_task_retries=MAX_TRIES - 1)
        components, notes = get_result(find.remote(self.options, tuple(needed), fallback, kernel))
        for note in notes:
            self.reporter.note(note)
        return components

    def make_all(self, work: Work[Item], items: Sequence[Item], components: Components) -> Iterator[tuple[int, Made]]:
        """Raises InputError at the end for clips that cost MAX_TRIES actors, and at once what an actor raises of it."""
        import ray

        def make(actor: "ActorHandle", position: int) -> "ObjectRef":
            return actor.make.remote(work, items[position], components)

        begin, done = time.monotonic(), 0
        clips = Assignment(collections.deque(range(len(items))), idle=self.actors[::-1])
        clips.hand_out(make)
        while clips.is_open:
            try:
                [call], _ = ray.wait(list(clips.running), num_returns=1)
            except KeyboardInterrupt:
                raise KeyboardInterrupt(f"{done} of {len(items)} are made; the same command goes on") from None
            actor, position = clips.running.pop(call)
            try:
                made = get_result(call)
                clips.idle.append(actor)
            except ray.exceptions.RayActorError as error:
                position, said = None, clips.put_back(actor, position)
                if said:
                    self.reporter.note(f"{said}: {str(error).splitlines()[0]}")
            clips.hand_out(make)
            if position is not None:
                done += 1
                self.reporter.note(describe_rate(done, len(items), time.monotonic() - begin))
                yield position, made
        if clips.lost:
            raise InputError(
                f"{len(clips.lost)} of {len(items)} clips cost {MAX_TRIES} actors each and were given up "
                "(Ray's logs tell why); the same command tries them again"
            )


def get_result(call: "ObjectRef") -> object:
    """What the call gives. Raises what it raised where it ran, without Ray's wrapping."""
    import ray

    try:
        return ray.get(call)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
