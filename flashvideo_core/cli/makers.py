"""Who makes the clips of a command: this process, or with --ray the actors of a cluster (ray_actors.py)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from ..errors import InputError
from .many_options import ManyOptions
from .options import ComponentOptions
from .progress import Reporter
from .work import Makers, ThisProcess


@contextmanager
def open_makers(many: ManyOptions, components: ComponentOptions, reporter: Reporter) -> Iterator[Makers]:
    """Raises InputError for --actors without --ray, and for no Ray or no cluster where one is asked for."""
    components = replace(components, device=many.shard.choose_device(components.device))
    if many.ray is None:
        if many.actors is not None:
            raise InputError("--actors is for --ray: add --ray local")
        yield ThisProcess(components, reporter)
        return
    from .ray_actors import open_actors

    with open_actors(many.ray, many.actors, components, reporter) as actors:
        yield actors
