"""The list of prompts that several servers share (servers.py): who takes which, what comes back, when it is done."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError
from ..types import Notify
from .progress import describe_rate
from .queue_entry import QueueEntry

MAX_LOSSES = 3  # servers lost while they ran a prompt, after which it is given up
ALONE_SECONDS = 600.0  # without any server, after which the command gives up


@dataclass
class WorkList:
    """waiting: what nobody has; untried: servers not asked yet for what they have of an earlier run.

    What an earlier run has queued is taken by nobody else before all servers have been tried. finding: held while a
    server is asked, so that each is asked for everything. left: how many have not ended; closed is set when none is.
    faults: why a server was lost, the last time. alone_since: when one was last connected (time.monotonic), or None.
    """

    waiting: list[QueueEntry]
    untried: set[str]
    note: Notify
    left: int = 0
    losses: Counter[Path] = field(default_factory=Counter)
    connected: set[str] = field(default_factory=set)
    faults: dict[str, str] = field(default_factory=dict)
    alone_since: float | None = None
    begin: float = field(default_factory=time.monotonic)
    finding: asyncio.Lock = field(default_factory=asyncio.Lock)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.left = self.total = len(self.waiting)

    def take(self) -> QueueEntry | None:
        """The next one, which is the caller's then; None where nothing may be taken now."""
        free = (at for at, entry in enumerate(self.waiting) if not (self.untried and is_queued(entry)))
        at = next(free, None)
        return None if at is None else self.waiting.pop(at)

    def claim_queued(self) -> list[QueueEntry]:
        """Takes all that some server may have."""
        claimed = [entry for entry in self.waiting if is_queued(entry)]
        self.waiting = [entry for entry in self.waiting if not is_queued(entry)]
        return claimed

    def give_back(self, entries: list[QueueEntry]) -> None:
        self.waiting.extend(entries)
        self.changed.set()

    def take_back(self, entries: list[QueueEntry]) -> None:
        """From a lost server, the one that it ran first: that one may be why, and is given up after MAX_LOSSES."""
        self.losses.update(entry.path for entry in entries[:1])
        if entries and self.losses[entries[0].path] == MAX_LOSSES:
            error = f"{MAX_LOSSES} times a server went away while it had this prompt"
            entries.pop(0).update_record({"state": "failed", "error": error})
            self.end()
        self.give_back(entries)

    def end(self) -> None:
        """Of an entry that was taken: it is done or has failed."""
        self.left -= 1
        self.note(describe_rate(self.total - self.left, self.total, time.monotonic() - self.begin))
        if not self.left:
            self.closed.set()
            self.changed.set()

    async def wait(self) -> None:
        """Until there may be something to take, or nothing is left."""
        self.changed.clear()
        await self.changed.wait()

    def connect(self, server: str) -> None:
        self.untried.discard(server)
        self.connected.add(server)
        self.alone_since = time.monotonic()
        self.changed.set()

    def disconnect(self, server: str, fault: str) -> None:
        """Raises InputError when there is no server left to wait for: none ever was, or none for ALONE_SECONDS."""
        self.faults[server] = fault
        self.untried.discard(server)
        if server in self.connected:
            self.connected.remove(server)
            self.alone_since = time.monotonic()
        self.changed.set()
        gives_up = self.alone_since is None or time.monotonic() - self.alone_since > ALONE_SECONDS
        if gives_up and not self.untried and not self.connected:
            raise InputError(self.describe_faults())

    def check_closed(self) -> None:
        """Raises InputError when something is left."""
        if not self.closed.is_set():
            raise InputError(self.describe_faults())

    def describe_faults(self) -> str:
        faults = "; ".join(f"{server.partition('://')[2]}: {fault}" for server, fault in self.faults.items())
        return f"none of the servers can be used: {faults}. Run the same command again to go on"


def is_queued(entry: QueueEntry) -> bool:
    """Whether some server has it, or had it."""
    return entry.record.get("prompt_id") is not None and entry.record.get("state") != "failed"
