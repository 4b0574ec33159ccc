"""A batch client of a ComfyUI server: many prompts through one workflow, unattended and resumable.

Each prompt gets a folder with its files and a record for each of its two ways, drafts.json and clip-CHOICE.json. All
prompts are queued at once, so the server works on when the client goes. A record names the server's prompt id from the
moment it is queued: the same command run again skips what is done, fetches what was finished meanwhile, waits for what
is still queued, and queues the rest. Files are written under another name and renamed; nothing is deleted.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..packages import require_package
from ..types import Notify, ProgressCallback
from .queue_entry import QueueEntry, QueueRecord, open_entry
from .workflow import REVIEW, Graph, PromptLine, fill_graph, find_title, nodes_of_class

if TYPE_CHECKING:
    from aiohttp import ClientSession, ClientWebSocketResponse, WSMessage

Json = dict[str, Any]
"""An object of ComfyUI's HTTP interface: /prompt, /history, /queue, and the messages of /ws."""

LISTEN_SECONDS = 10.0  # without a message, after which the server is asked anew


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
    """Brings every line to its end and returns the records, each with state ("done" or "failed") and files.

    server: host:port. drafts: only what is before the review. progress(node, step, total, None) as it is reported
    by the server, note(text) for each line. Raises InputError for no server, a missing node, values that it refuses.
    """
    require_package("aiohttp", "the batch client needs", "queue")
    import aiohttp

    if drafts and len(nodes_of_class(graph, REVIEW)) != 1:
        raise InputError(f"drafts alone need a workflow with one {REVIEW}")
    entries = [open_entry(line, fill_graph(graph, line, drafts), Path(folder), drafts) for line in lines]
    url = server if "://" in server else f"http://{server}"
    try:
        asyncio.run(_run_entries(entries, url.rstrip("/"), progress, note or (lambda text: None)))
    except aiohttp.ClientConnectionError as error:
        raise InputError(f"no ComfyUI server at {server}: {error}. Run the same command again to go on") from None
    return [entry.record for entry in entries]


async def _run_entries(entries: list[QueueEntry], url: str, progress: ProgressCallback | None, note: Notify) -> None:
    import aiohttp

    client_id = uuid.uuid4().hex
    address = f"/ws?clientId={client_id}"
    async with aiohttp.ClientSession(url) as session, session.ws_connect(address, max_msg_size=0) as socket:
        waiting = {}
        for entry in entries:
            if entry.is_done():
                note(f"{entry.name}: done before")
            elif not await _finish_entry(session, entry, note):
                await _queue_entry(session, entry, client_id)
                waiting[entry.record["prompt_id"]] = entry
        await _follow_entries(session, socket, waiting, progress, note)


async def _queue_entry(session: ClientSession, entry: QueueEntry, client_id: str) -> None:
    """Queues the entry unless the server still has it."""
    async with session.get("/queue") as response:
        queue = await response.json()
    queued_ids = {item[1] for items in queue.values() for item in items}
    if entry.record.get("prompt_id") in queued_ids:
        return
    body = {"prompt": entry.graph, "client_id": client_id, "prompt_id": str(uuid.uuid4())}
    if entry.targets:
        body["partial_execution_targets"] = entry.targets
    entry.update_record({"prompt_id": body["prompt_id"], "state": "queued", "error": None, "files": []})
    async with session.post("/prompt", json=body) as response:
        answer = await response.json()
    if response.status != 200 or answer.get("node_errors"):
        entry.update_record({"state": "failed", "error": describe_refusal(answer)})
        raise InputError(f"{entry.name}: {entry.record['error']}")


def describe_refusal(answer: Json) -> str:
    """The server's reasons in one line."""
    error = answer.get("error") or {}
    if error.get("type") == "missing_node_type":
        return f"the server lacks a node of the workflow: {error.get('message')}"
    reasons = [
        f"{node['class_type']}: {e['message']}, {e['details']}"
        for node in (answer.get("node_errors") or {}).values()
        for e in node["errors"]
    ]
    return "; ".join(reasons) or error.get("message") or "refused by the server"


async def _follow_entries(
    session: ClientSession,
    socket: ClientWebSocketResponse,
    waiting: dict[str, QueueEntry],
    progress: ProgressCallback | None,
    note: Notify,
) -> None:
    """Listens until no entry is waited for; what ended between two messages is found by looking again."""
    while waiting:
        try:
            message = await socket.receive(timeout=LISTEN_SECONDS)
        except asyncio.TimeoutError:
            message = None
        data = _read_message(message)
        detail = data.get("data") or {}
        prompt_id = detail.get("prompt_id")
        if data.get("type") == "progress" and progress and detail["value"] and prompt_id in waiting:
            title = find_title(waiting[prompt_id].graph, detail.get("node"))
            progress(title, int(detail["value"]), int(detail["max"]), None)
        ended = data.get("type") == "executing" and detail.get("node") is None
        for ended_id in [prompt_id] if ended else list(waiting) if message is None else []:
            if ended_id in waiting and await _finish_entry(session, waiting[ended_id], note):
                del waiting[ended_id]


def _read_message(message: WSMessage | None) -> Json:
    """{} for none and for previews, which are binary."""
    import aiohttp

    kinds = aiohttp.WSMsgType
    if message and message.type in (kinds.CLOSED, kinds.CLOSING, kinds.ERROR):
        raise aiohttp.ClientConnectionError("it went away")
    return json.loads(message.data) if message and message.type is kinds.TEXT else {}


async def _finish_entry(session: ClientSession, entry: QueueEntry, note: Notify) -> bool:
    """Fetches the files of a run that has ended. False if it has not, or is unknown to the server."""
    prompt_id = entry.record.get("prompt_id")
    if prompt_id is None or entry.record.get("state") == "failed":
        return False
    async with session.get(f"/history/{prompt_id}") as response:
        history = (await response.json()).get(prompt_id)
    if history is None:
        return False
    error = find_failure(history)
    if error is not None:
        entry.update_record({"state": "failed", "error": error})
        note(f"{entry.name}: failed: {error}")
        return True
    files = list_files(history["outputs"], "temp" if entry.targets else "output")
    names = [await _fetch_file(session, entry, file) for file in files]
    entry.update_record({"state": "done", "files": names})
    note(f"{entry.name}: {', '.join(names) or 'nothing was saved'}")
    return True


def find_failure(history: Json) -> str | None:
    """Why a run ended early, or None."""
    messages = history["status"]["messages"]
    for kind, detail in messages:
        if kind.startswith("execution_err"):
            return detail["exception_message"].strip()
    return "interrupted" if any(kind == "execution_interrupted" for kind, _ in messages) else None


def list_files(outputs: Json, folder_type: str) -> list[Json]:
    """What the nodes of a run wrote: "output" for the saved files, "temp" for what a review shows."""
    entries = [entry for output in outputs.values() for entries in output.values() for entry in entries]
    return [entry for entry in entries if isinstance(entry, dict) and entry.get("type") == folder_type]


async def _fetch_file(session: ClientSession, entry: QueueEntry, file: Json) -> str:
    async with session.get("/view", params={k: file[k] for k in ("filename", "subfolder", "type")}) as response:
        response.raise_for_status()
        entry.write_file(file["filename"], await response.read())
    return file["filename"]
