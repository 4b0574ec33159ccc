"""A batch client of a ComfyUI server: many prompts through one workflow, unattended and resumable. Several: servers.py.

Each prompt gets a folder with its files and a record for each of its two ways, drafts.json and clip-CHOICE.json. All
prompts are queued at once, so the server works on when the client goes. A record names the server's prompt id from the
moment it is queued: the same command run again skips what is done, fetches what was finished meanwhile, waits for what
is still queued, and queues the rest. A clip is refined from the drafts in its folder where they are (queue_drafts.py).
Files are written under another name and renamed; nothing is deleted.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..errors import InputError, one_line
from ..packages import require_package
from ..types import Notify, ProgressCallback
from .queue_entry import QueueEntry, QueueRecord, open_entry
from .server_answers import (
    Json,
    describe_refusal,
    find_failure,
    list_queued,
    parse_message,
    parse_progress,
    read_answer,
)
from .server_files import fetch_clips, fetch_drafts, prepare_graph
from .workflow import REVIEW, Graph, PromptLine, fill_graph, find_title, nodes_of_class

if TYPE_CHECKING:
    from aiohttp import ClientSession, ClientWebSocketResponse, WSMessage


SERVER = "127.0.0.1:8188"  # where ComfyUI listens unless told otherwise
LISTEN_SECONDS = 10.0  # without a message, after which the server is asked anew
SILENT_SECONDS = 300.0  # in the middle of an answer, after which the server has gone

Waiting = dict[str, QueueEntry]
"""What is queued and not yet fetched, by prompt id."""


def run_queue(
    lines: list[PromptLine],
    graph: Graph,
    server: str,
    folder: str | Path,
    *,
    drafts: bool = False,
    progress: ProgressCallback | None = None,
    note: Notify | None = None,
) -> list[QueueRecord]:
    """Brings every line to its end and returns the records, each with state ("done" or "failed") and files; equal lines
    have one.

    server: host:port. drafts: only what is before the review. progress(node, step, total, None) as it is reported
    by the server, note(text) for each line. A line that the server refuses fails alone. Raises InputError for no
    server, one that does not answer as ComfyUI does, and when every line is refused. KeyboardInterrupt fetches what has
    ended by then and says what the server still works on.
    """
    require_package("aiohttp", "the batch client needs", "queue")
    import aiohttp

    entries = open_entries(lines, graph, Path(folder), drafts)
    url = find_url(server)
    try:
        asyncio.run(_run_entries(entries, url, progress, note or (lambda text: None)))
    except aiohttp.ClientConnectionError as error:
        raise InputError(f"no ComfyUI server at {server}: {error}. Run the same command again to go on") from None
    except aiohttp.ClientError as error:
        raise InputError(f"the server at {server} does not answer as ComfyUI does: {one_line(error)}") from None
    except KeyboardInterrupt:
        raise KeyboardInterrupt(describe_interrupt(entries, "the server")) from None
    return [entry.record for entry in entries]


def open_entries(lines: list[PromptLine], graph: Graph, folder: Path, drafts: bool) -> list[QueueEntry]:
    """One for each clip that the lines ask for. Raises InputError for drafts without a review."""
    if drafts and len(nodes_of_class(graph, REVIEW)) != 1:
        raise InputError(f"drafts alone need a workflow with one {REVIEW}")
    opened = [open_entry(line, fill_graph(graph, line, drafts), folder, drafts) for line in lines]
    return list({entry.path: entry for entry in opened}.values())  # the same line twice is the same clip


def describe_interrupt(entries: list[QueueEntry], place: str) -> str:
    done = sum(entry.is_done() for entry in entries)
    queued = sum(entry.record.get("state") == "queued" for entry in entries)
    return f"{done} of {len(entries)} done, {queued} still with {place}; the same command goes on"


def find_url(server: str) -> str:
    """http://host:port of what the user wrote. Raises InputError for another protocol and for a path."""
    url = urlsplit(server if "://" in server else f"http://{server}")
    if url.scheme not in ("http", "https") or not url.netloc or url.path.strip("/") or url.query:
        raise InputError(f"server is {server!r}; write HOST:PORT, or http:// or https:// before it, and no path")
    return f"{url.scheme}://{url.netloc}"


async def _run_entries(entries: list[QueueEntry], url: str, progress: ProgressCallback | None, note: Notify) -> None:
    client_id, waiting = uuid.uuid4().hex, {}
    async with open_socket(url, client_id) as (session, socket):
        try:
            await _queue_entries(session, entries, waiting, client_id, note)
            while waiting:
                await hear_message(session, socket, waiting, progress, note)
        except (asyncio.CancelledError, KeyboardInterrupt):
            for entry in waiting.values():
                await finish_entry(session, entry, note)
            raise


@asynccontextmanager
async def open_socket(
    url: str, client_id: str, connect_seconds: float | None = None
) -> AsyncIterator[tuple[ClientSession, ClientWebSocketResponse]]:
    """A session with a server and its messages. Raises aiohttp's ClientError."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_seconds, sock_read=SILENT_SECONDS)
    async with (
        aiohttp.ClientSession(url, timeout=timeout) as session,
        session.ws_connect(f"/ws?clientId={client_id}", max_msg_size=0) as socket,
    ):
        yield session, socket


async def _queue_entries(
    session: ClientSession, entries: list[QueueEntry], waiting: Waiting, client_id: str, note: Notify
) -> None:
    """Puts into `waiting` what is queued. Raises InputError when every entry is refused."""
    refused = []
    for entry in entries:
        if entry.is_done():
            note(f"{entry.name}: done before")
        elif not await finish_entry(session, entry, note):
            await submit_entry(session, entry, client_id)
            if entry.record.get("state") == "failed":
                refused.append(f"{entry.name}: {entry.record['error']}")
                note(refused[-1])
            else:
                waiting[entry.record["prompt_id"]] = entry
    if len(refused) == len(entries):
        raise InputError(refused[0])


async def submit_entry(session: ClientSession, entry: QueueEntry, client_id: str) -> None:
    """Queues the entry unless the server still has it; a refused one is recorded as failed."""
    if entry.record.get("prompt_id") in await fetch_queued(session):
        return
    prompt_id = str(uuid.uuid4())
    entry.update_record({"prompt_id": prompt_id, "state": "queued", "error": None, "files": []})
    try:
        graph = await prepare_graph(session, entry)
    except InputError as error:
        entry.update_record({"state": "failed", "error": str(error)})
        return
    body = {"prompt": graph, "client_id": client_id, "prompt_id": prompt_id}
    if entry.targets:
        body["partial_execution_targets"] = entry.targets
    async with session.post("/prompt", json=body) as response:
        answer = await read_answer(response)
    if response.status != 200 or answer.get("node_errors"):
        entry.update_record({"state": "failed", "error": describe_refusal(answer)})


async def hear_message(
    session: ClientSession,
    socket: ClientWebSocketResponse,
    waiting: Waiting,
    progress: ProgressCallback | None,
    note: Notify,
) -> None:
    """Waits for a message and takes from `waiting` what has ended; without one, it is found by looking again."""
    try:
        message = await socket.receive(timeout=LISTEN_SECONDS)
    except asyncio.TimeoutError:
        message = None
    data = _read_message(message)
    detail = data.get("data") or {}
    prompt_id = str(detail.get("prompt_id"))
    at = parse_progress(detail) if data.get("type") == "progress" and prompt_id in waiting else None
    if progress is not None and at is not None:
        node_id, step, total = at
        progress(find_title(waiting[prompt_id].graph, node_id), step, total, None)
    ended = data.get("type") == "executing" and detail.get("node") is None
    if ended and prompt_id in waiting and await finish_entry(session, waiting[prompt_id], note):
        del waiting[prompt_id]
    if message is None:
        await _look_again(session, waiting, note)


async def _look_again(session: ClientSession, waiting: Waiting, note: Notify) -> None:
    """Fetches what has ended unheard, and gives up what the server no longer has: its queue was cleared."""
    queued_ids = await fetch_queued(session)  # before the histories: what leaves the queue is in its history
    for prompt_id, entry in list(waiting.items()):
        ended = await finish_entry(session, entry, note)
        if not ended and prompt_id not in queued_ids:
            entry.update_record({"state": "failed", "error": "it was removed from the server's queue"})
            note(f"{entry.name}: failed: {entry.record['error']}")
        if ended or prompt_id not in queued_ids:
            del waiting[prompt_id]


async def fetch_queued(session: ClientSession) -> set[str]:
    async with session.get("/queue") as response:
        return list_queued(await read_answer(response))


def _read_message(message: WSMessage | None) -> Json:
    """{} for none and for previews, which are binary."""
    import aiohttp

    kinds = aiohttp.WSMsgType
    if message and message.type in (kinds.CLOSED, kinds.CLOSING, kinds.ERROR):
        raise aiohttp.ClientConnectionError("it went away")
    return parse_message(message.data) if message and message.type is kinds.TEXT else {}


async def finish_entry(session: ClientSession, entry: QueueEntry, note: Notify) -> bool:
    """Fetches the files of a run that has ended. False if it has not, or is unknown to the server."""
    prompt_id = entry.record.get("prompt_id")
    if prompt_id is None or entry.record.get("state") == "failed":
        return False
    async with session.get(f"/history/{prompt_id}") as response:
        history = (await read_answer(response)).get(prompt_id)
    if history is None:
        return False
    error = find_failure(history)
    if error is not None:
        entry.update_record({"state": "failed", "error": error})
        note(f"{entry.name}: failed: {error}")
        return True
    names = await (fetch_drafts if entry.targets else fetch_clips)(session, entry, history)
    entry.update_record({"state": "done", "files": names})
    note(f"{entry.name}: {', '.join(names) or 'nothing was saved'}")
    return True
