"""Several ComfyUI servers for one list of prompts: whoever has room takes the next one.

Each server has few prompts queued, so that the rest of the list is for whoever is quicker. What a lost server had goes
back to the list. When it returns it goes on with those of its prompts that nobody else has taken, and is told to drop
the others. Drafts and records lie in the folders of the client, so any server refines the drafts of any other one.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import one_line
from ..packages import require_package
from ..types import Notify
from .client import (
    Waiting,
    describe_interrupt,
    fetch_queued,
    find_url,
    finish_entry,
    hear_message,
    open_entries,
    open_socket,
    submit_entry,
)
from .queue_entry import QueueEntry, QueueRecord
from .server_answers import LACKS_NODE, AnswerError
from .work_list import WorkList
from .workflow import Graph, PromptLine

if TYPE_CHECKING:
    from aiohttp import ClientSession, ClientWebSocketResponse

QUEUED_EACH = 2  # prompts that a server has: one that runs, one that waits
CONNECT_SECONDS = 10.0
RETRY_SECONDS, MAX_RETRY_SECONDS = 1.0, 60.0  # until a lost server is tried again, the first time and at most


def run_on_servers(
    lines: list[PromptLine],
    graph: Graph,
    servers: Sequence[str],
    folder: str | Path,
    *,
    drafts: bool = False,
    note: Notify | None = None,
) -> list[QueueRecord]:
    """As client.run_queue on several servers, without the steps of each.

    A line that a server refuses fails alone. Raises InputError when no server answers, when none has for
    work_list.ALONE_SECONDS, and when each has turned out not to be a ComfyUI with the nodes of the workflow.
    """
    require_package("aiohttp", "the batch client needs", "queue")
    entries, note = open_entries(lines, graph, Path(folder), drafts), note or (lambda text: None)
    urls = list(dict.fromkeys(map(find_url, servers)))
    try:
        asyncio.run(_run_entries(entries, urls, note))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(describe_interrupt(entries, "the servers")) from None
    return [entry.record for entry in entries]


async def _run_entries(entries: list[QueueEntry], urls: list[str], note: Notify) -> None:
    work = WorkList([entry for entry in entries if not entry.is_done()], set(urls), note)
    for entry in entries:
        if entry.is_done():
            note(f"{entry.name}: done before")
    if not work.waiting:
        return
    workers = [Worker(url, work) for url in urls]
    tasks = [asyncio.create_task(worker.run()) for worker in workers]
    every, closed = asyncio.gather(*tasks), asyncio.create_task(work.closed.wait())
    try:
        await asyncio.wait([every, closed], return_when=asyncio.FIRST_COMPLETED)
        if every.done():
            every.result()
        work.check_closed()
    except (asyncio.CancelledError, KeyboardInterrupt):
        await _stop(*tasks, every, closed)
        for worker in workers:
            await worker.fetch_ended()
        raise
    finally:
        await _stop(*tasks, every, closed)


async def _stop(*tasks: asyncio.Future) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@dataclass
class Worker:
    """What is done with one server. own: its queued prompts, the running one first; lost: prompt ids it was not done
    with when it went away; pause: seconds until it is tried again."""

    url: str
    work: WorkList
    client_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    own: Waiting = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    pause: float = field(default_factory=lambda: RETRY_SECONDS)

    async def run(self) -> None:
        """Until the list is done, or the server turns out to be none that can be used."""
        import aiohttp

        while not self.work.closed.is_set():
            try:
                async with open_socket(self.url, self.client_id, CONNECT_SECONDS) as (session, socket):
                    await self.serve(session, socket)
            except (aiohttp.ClientError, AnswerError) as error:
                self.lose(error)
                if not is_gone(error):
                    return
                await asyncio.sleep(self.pause)
                self.pause = min(2 * self.pause, MAX_RETRY_SECONDS)

    async def serve(self, session: ClientSession, socket: ClientWebSocketResponse) -> None:
        """Takes prompts and fetches what has ended, until the list is done."""
        await self.find_own(session)
        self.work.connect(self.url)
        self.pause = RETRY_SECONDS
        while not self.work.closed.is_set():
            while len(self.own) < QUEUED_EACH and (entry := self.work.take()):
                await self.begin(session, entry)
            if self.own:
                await self.hear(session, socket)
            elif not self.work.closed.is_set():
                await self.work.wait()

    async def find_own(self, session: ClientSession) -> None:
        """Goes on with what the server has of the list, from an earlier run too; drops what others have taken."""
        async with self.work.finding:
            queued, claimed, others = await fetch_queued(session), self.work.claim_queued(), []
            try:
                while claimed:
                    has = await self.has_prompt(session, claimed[0], queued)
                    entry = claimed.pop(0)
                    if not has:
                        others.append(entry)
            finally:
                self.work.give_back(claimed + others)
        stale = sorted((queued & self.lost) - self.own.keys())
        if stale:
            async with session.post("/queue", json={"delete": stale}):
                self.note(f"{len(stale)} of its prompts were taken by others and leave its queue")

    async def has_prompt(self, session: ClientSession, entry: QueueEntry, queued: set[str]) -> bool:
        """queued: the prompt ids that the server has, of before this call."""
        prompt_id = entry.record["prompt_id"]
        if prompt_id in queued:
            self.own[prompt_id] = entry
            self.work.losses.pop(entry.path, None)
        elif await finish_entry(session, entry, self.note):
            self.work.end()
        else:
            return False
        return True

    async def begin(self, session: ClientSession, entry: QueueEntry) -> None:
        """Queues the entry. One that is refused has failed, unless the server lacks a node: AnswerError then."""
        try:
            await submit_entry(session, entry, self.client_id)
            error = entry.record.get("error") or ""
            if error.startswith(LACKS_NODE):
                raise AnswerError(error)
        except BaseException:
            self.work.give_back([entry])
            raise
        if entry.record["state"] == "failed":
            self.note(f"{entry.name}: {error}")
            self.work.end()
        else:
            self.own[entry.record["prompt_id"]] = entry

    async def hear(self, session: ClientSession, socket: ClientWebSocketResponse) -> None:
        count = len(self.own)
        try:
            await hear_message(session, socket, self.own, None, self.note)
        finally:
            for _ in range(count - len(self.own)):
                self.work.end()

    def lose(self, error: Exception) -> None:
        """Gives back what the server had. Raises InputError as WorkList.disconnect."""
        state = "is gone" if is_gone(error) else "is not used any more"
        count = f"; {len(self.own)} of its prompts go back to the list" if self.own else ""
        if self.pause == RETRY_SECONDS or self.own:
            self.note(f"{state}: {one_line(error)}{count}")
        self.lost |= self.own.keys()
        self.work.take_back(list(self.own.values()))
        self.own.clear()
        self.work.disconnect(self.url, one_line(error))

    async def fetch_ended(self) -> None:
        """What has ended unheard, when the command is stopped."""
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=CONNECT_SECONDS)
        with suppress(aiohttp.ClientError, AnswerError):
            async with aiohttp.ClientSession(self.url, timeout=timeout) as session:
                for entry in self.own.values():
                    await finish_entry(session, entry, self.note)

    def note(self, text: str) -> None:
        self.work.note(f"{self.url.partition('://')[2]}: {text}")


def is_gone(error: Exception) -> bool:
    """Whether the server may come back, as one that does not answer, or behind a proxy that says so."""
    import aiohttp

    lost = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)
    return isinstance(error, lost) or getattr(error, "status", 0) >= 500
