"""A batch client of a ComfyUI server: many prompts through one API-form workflow, unattended and resumable.

Each prompt gets a folder with its files and a record for each of its two ways, drafts.json and clip.json. All prompts
are queued at once, so the server works on when the client goes. A record names the server's prompt id from the
moment it is queued: the same command run again skips what is done, fetches what was finished meanwhile, waits for what
is still queued, and queues the rest. Files are written under another name and renamed; nothing is deleted.
"""

import asyncio
import copy
import hashlib
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError
from ..weights.atomic import atomic_write
from .outputs import clip_name

REVIEW, TEXT, STAGE1, STAGE2 = (f"FlashVideo{name}" for name in ("Review", "TextEncode", "Stage1", "Stage2"))
PLACES = {
    "prompt": [(TEXT, "prompt")],
    "negative": [(TEXT, "negative_prompt")],
    "motion": [(TEXT, "motion")],
    "seed": [(STAGE1, "seed"), (STAGE2, "seed")],
    "choice": [(REVIEW, "choice")],
}


@dataclass(frozen=True)
class Job:
    """One line of the prompt file. `values` are keys of PLACES or "NODE.input"; NODE is an id or a class."""

    prompt: str
    values: dict = field(default_factory=dict)


def fill(graph: dict, job: Job, drafts: bool) -> dict:
    """The graph with the job's values; drafts alone are held back at the review, else everything is approved."""
    graph = copy.deepcopy(graph)
    for key, value in job.values.items():
        for name, widget in places(key):
            set_input(graph, name, widget, value, key)
    for node in of_class(graph, REVIEW):
        node["inputs"]["decision"] = "review" if drafts else "approve"
    return graph


def places(key: str) -> list[tuple[str, str]]:
    if key in PLACES:
        return PLACES[key]
    name, dot, widget = key.rpartition(".")
    if not dot:
        raise InputError(f"{key} is unknown; use {', '.join(PLACES)} or NODE.input, e.g. {STAGE2}.cfg")
    return [(name, widget)]


def set_input(graph: dict, name: str, widget: str, value, key: str) -> None:
    nodes = [graph[name]] if name in graph else of_class(graph, name)
    nodes = [node for node in nodes if not isinstance(node["inputs"].get(widget, []), list)]
    if not nodes and key not in ("seed", "choice"):  # a workflow need not have both stages, or a review
        raise InputError(f"{key} has no place: the workflow has no widget {widget} on a node {name}")
    for node in nodes:
        node["inputs"][widget] = value


def of_class(graph: dict, name: str) -> list[dict]:
    return [node for node in graph.values() if node["class_type"] == name]


def run_queue(
    jobs: list[Job],
    graph: dict,
    server: str,
    folder: str | Path,
    *,
    drafts: bool = False,
    progress: Callable | None = None,
    note: Callable[[str], None] | None = None,
) -> list[dict]:
    """Brings every job to its end and returns the records, each with state ("done" or "failed") and files.

    server: host:port. drafts: only what is before the review. progress(node, step, total, None) as it is reported
    by the server, note(text) for each job. ValueError: no server, a missing node, values that it refuses.
    """
    try:
        import aiohttp  # not needed for anything else
    except ImportError:
        raise InputError("the batch client needs the Python package aiohttp (pip install aiohttp)") from None
    if drafts and len(of_class(graph, REVIEW)) != 1:
        raise InputError(f"drafts alone need a workflow with one {REVIEW}")
    entries = [Entry.of(job, fill(graph, job, drafts), Path(folder), drafts) for job in jobs]
    url = server if "://" in server else f"http://{server}"
    try:
        return asyncio.run(_run(entries, url.rstrip("/"), progress, note or (lambda _: None)))
    except aiohttp.ClientConnectionError as error:
        raise InputError(f"no ComfyUI server at {server}: {error}. Run the same command again to go on") from None


@dataclass
class Entry:
    """A job on its way: its graph, its folder, and its record on disk."""

    name: str
    graph: dict
    targets: list[str] | None
    path: Path
    record: dict

    @classmethod
    def of(cls, job: Job, graph: dict, folder: Path, drafts: bool) -> "Entry":
        choice = next((node["inputs"]["choice"] for node in of_class(graph, REVIEW)), 0)
        name = f"{clip_name(job.prompt, 0)[:-2]}-{fingerprint(graph)}"
        path = folder / name / ("drafts.json" if drafts else f"clip-{choice}.json")
        record = json.loads(path.read_text()) if path.exists() else {}
        record.pop("workflow", None)  # kept there for people; it is `graph`
        targets = [id for id, node in graph.items() if node["class_type"] == REVIEW] if drafts else None
        return cls(name, graph, targets, path, {"prompt": job.prompt, **record})

    def is_done(self) -> bool:
        files = self.record.get("files", [])
        return self.record.get("state") == "done" and all((self.path.parent / name).exists() for name in files)

    def write(self, **changes) -> None:
        self.record.update(changes)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, json.dumps({**self.record, "workflow": self.graph}, indent=2).encode())


def fingerprint(graph: dict) -> str:
    """Of everything but which draft is chosen and whether it is approved: a folder is a set of drafts."""
    graph = copy.deepcopy(graph)
    for node in of_class(graph, REVIEW):
        node["inputs"] = {k: v for k, v in node["inputs"].items() if k not in ("decision", "choice")}
    return hashlib.sha256(json.dumps(graph, sort_keys=True).encode()).hexdigest()[:10]


def write_whole(path: Path, content: bytes) -> None:
    with atomic_write(path) as partial:
        partial.write_bytes(content)


async def _run(entries: list[Entry], url: str, progress: Callable | None, note: Callable) -> list[dict]:
    import aiohttp

    client_id = uuid.uuid4().hex
    address = f"/ws?clientId={client_id}"
    async with aiohttp.ClientSession(url) as session, session.ws_connect(address, max_msg_size=0) as socket:
        waiting = {}
        for entry in entries:
            if entry.is_done():
                note(f"{entry.name}: done before")
            elif not await _finish(session, entry, note):
                await _queue(session, entry, client_id)
                waiting[entry.record["prompt_id"]] = entry
        await _follow(session, socket, waiting, progress, note)
    return [entry.record for entry in entries]


async def _queue(session, entry: Entry, client_id: str) -> None:
    """Queues the entry unless the server still has it."""
    async with session.get("/queue") as response:
        queue = await response.json()
    known = {item[1] for items in queue.values() for item in items}
    if entry.record.get("prompt_id") in known:
        return
    body = {"prompt": entry.graph, "client_id": client_id, "prompt_id": str(uuid.uuid4())}
    if entry.targets:
        body["partial_execution_targets"] = entry.targets
    entry.write(prompt_id=body["prompt_id"], state="queued", error=None, files=[])
    async with session.post("/prompt", json=body) as response:
        answer = await response.json()
    if response.status != 200 or answer.get("node_errors"):
        entry.write(state="failed", error=refusal(answer))
        raise InputError(f"{entry.name}: {entry.record['error']}")


def refusal(answer: dict) -> str:
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


async def _follow(session, socket, waiting: dict[str, Entry], progress: Callable | None, note: Callable) -> None:
    """Listens until nothing is waited for; what ended between two messages is found by looking again."""
    import aiohttp

    while waiting:
        try:
            message = await socket.receive(timeout=10)
        except asyncio.TimeoutError:
            message = None
        if message and message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.ERROR):
            raise aiohttp.ClientConnectionError("it went away")
        data = json.loads(message.data) if message and message.type is aiohttp.WSMsgType.TEXT else {}
        detail = data.get("data") or {}
        if data.get("type") == "progress" and progress and detail["value"] and detail.get("prompt_id") in waiting:
            graph = waiting[detail["prompt_id"]].graph
            progress(title(graph, detail.get("node")), int(detail["value"]), int(detail["max"]), None)
        ended = data.get("type") == "executing" and detail.get("node") is None
        for prompt_id in [detail.get("prompt_id")] if ended else list(waiting) if message is None else []:
            if prompt_id in waiting and await _finish(session, waiting[prompt_id], note):
                del waiting[prompt_id]


def title(graph: dict, node: str | None) -> str:
    known = graph.get(node or "", {})
    return known.get("_meta", {}).get("title") or known.get("class_type") or "node"


async def _finish(session, entry: Entry, note: Callable) -> bool:
    """Fetches the files of a run that has ended. False if it has not, or is unknown to the server."""
    prompt_id = entry.record.get("prompt_id")
    if prompt_id is None or entry.record.get("state") == "failed":
        return False
    async with session.get(f"/history/{prompt_id}") as response:
        history = (await response.json()).get(prompt_id)
    if history is None:
        return False
    failure = next((m[1] for m in history["status"]["messages"] if m[0].startswith("execution_err")), None)
    stopped = any(m[0] == "execution_interrupted" for m in history["status"]["messages"])
    if failure or stopped:
        entry.write(state="failed", error=failure["exception_message"].strip() if failure else "interrupted")
        note(f"{entry.name}: failed: {entry.record['error']}")
        return True
    fetched = [await _fetch(session, entry, file) for file in result_files(history["outputs"], bool(entry.targets))]
    entry.write(state="done", files=fetched)
    note(f"{entry.name}: {', '.join(fetched) or 'nothing was saved'}")
    return True


def result_files(outputs: dict, drafts: bool) -> list[dict]:
    """What the output nodes saved (for drafts: what the review shows)."""
    entries = [entry for output in outputs.values() for entries in output.values() for entry in entries]
    wanted = "temp" if drafts else "output"
    return [entry for entry in entries if isinstance(entry, dict) and entry.get("type") == wanted]


async def _fetch(session, entry: Entry, file: dict) -> str:
    async with session.get("/view", params={k: file[k] for k in ("filename", "subfolder", "type")}) as response:
        response.raise_for_status()
        write_whole(entry.path.parent / file["filename"], await response.read())
    return file["filename"]
