"""The options of many clips: how they are shared out among processes and the actors of a Ray cluster, and chosen."""

import argparse
from dataclasses import dataclass, field

from .options import parse_path
from .shard import Shard, parse_shard


@dataclass(frozen=True)
class ManyOptions:
    """ray: "auto", "local" or an address; None: this process makes the clips. actors None: one to a GPU, else one."""

    shard: Shard = field(default_factory=Shard)
    ray: str | None = None
    actors: int | None = None


def add_many_options(parser: argparse.ArgumentParser) -> None:
    add_shard_option(parser)
    help = "actors of Ray make the clips: local, auto (the cluster that this machine is in) or an address"
    parser.add_argument("--ray", type=parse_path, metavar="WHERE", help=help)
    help = "of Ray (default: one to a GPU, or one on the CPU)"
    parser.add_argument("--actors", type=parse_actors, metavar="N", help=help)


def add_shard_option(parser: argparse.ArgumentParser, verb: str = "make") -> None:
    help = f"{verb} only every n-th clip, from i on: 0/4 to 3/4 (or 1/4 to 4/4); env: as Slurm's array or torchrun says"
    parser.add_argument("--shard", type=parse_shard, default=Shard(), metavar="I/N", help=help)


def add_chosen_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--chosen", type=parse_path, metavar="FILE", help="the drafts that this file of a review page names")
    help = "where the drafts of --chosen lie (default: where FILE is)"
    add("--chosen-from", type=parse_path, metavar="FOLDER", help=help)


def parse_actors(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of actors; it must be 1 to 10000")
    return int(text)
