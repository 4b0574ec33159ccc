"""A connection to a Ray cluster, and the actors of `--ray` in it."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..errors import InputError, first_sentence, one_line
from ..packages import require_package
from .progress import Reporter
from .ray_actor import ClipActor

if TYPE_CHECKING:
    from ray.actor import ActorHandle

CONNECT_SECONDS = 10.0
PACKAGE_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Cluster:
    """What it has in all; others may be using it."""

    cpus: int
    gpus: int


@contextmanager
def connect(where: str, actors: int | None, reporter: Reporter) -> Iterator[Cluster]:
    """The cluster "local" (started here, ends with the command), "auto" (the running one that this machine belongs to)
    or at an address. Raises InputError for no Ray and no cluster. What actors write is in Ray's logs, and on stderr.
    """
    require_package("ray", "--ray hands clips to", "ray")
    import ray

    if where not in ("local", "auto"):
        check_address(where)
    with redirect_stdout(sys.stderr):  # what Ray says, of lost workers too; stdout is for results
        try:
            start_or_join(where, actors, reporter.as_json)
        except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
            hint = " (start one with `ray start --head`, or take --ray local)" if where == "auto" else ""
            raise InputError(f"no Ray cluster at {where}{hint}: {first_sentence(error)}") from None
        try:
            found = ray.cluster_resources()
            yield Cluster(int(found.get("CPU", 0)), int(found.get("GPU", 0)))
        finally:
            ray.shutdown()


def check_address(address: str) -> None:
    """Raises InputError for what is no address and where nothing listens, at which Ray knocks for minutes."""
    try:
        url = urlsplit(address if "://" in address else f"//{address}")
        host, port = url.hostname, url.port
    except ValueError:  # a port that is no number
        host = port = None
    if not host or not port:
        raise InputError(f"ray is {address!r}; write local, auto, HOST:PORT or ray://HOST:PORT")
    try:
        socket.create_connection((host, port), CONNECT_SECONDS).close()
    except OSError as error:
        raise InputError(f"no Ray cluster at {address}: {error.strerror or one_line(error)}") from None


def start_or_join(where: str, actors: int | None, as_json: bool) -> None:
    """Workers import this very package where it lies at the same place, else the one that is installed there."""
    import ray

    config = ray.job_config.JobConfig(code_search_path=[str(PACKAGE_ROOT)])
    options = {"job_config": config, "log_to_driver": not as_json, "logging_level": "warning"}
    earlier = signal.getsignal(signal.SIGTERM)
    if where == "local":  # as many CPUs as actors, which share the machine's as processes do
        ray.init(num_cpus=max(actors or 1, os.cpu_count() or 1), address="local", **options)
    else:
        ray.init(address=where, **options)
    if threading.current_thread() is threading.main_thread():  # Ray's own ends the process without a word
        signal.signal(signal.SIGTERM, earlier)


def count_actors(cluster: Cluster, wanted: int | None, on_gpus: bool) -> int:
    """Raises InputError for more actors than the cluster has GPUs (or CPUs) for: they would never start."""
    there, kind = (cluster.gpus, "GPUs") if on_gpus else (cluster.cpus, "CPUs")
    count = wanted or (there if on_gpus else 1)
    if count > there or not there:
        raise InputError(f"actors is {count}; the cluster has {there} {kind}, and each actor takes one")
    return count


def start_actors(count: int, threads: int, on_gpus: bool) -> list["ActorHandle"]:
    """threads: of torch in each; a sum has the same bits at the same number of them."""
    import ray

    resources = {"num_gpus": 1, "num_cpus": 0} if on_gpus else {"num_cpus": 1}
    actor = ray.remote(ClipActor).options(max_restarts=-1, **resources)
    return [actor.remote(threads) for _ in range(count)]
