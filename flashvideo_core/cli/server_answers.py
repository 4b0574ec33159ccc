"""What a ComfyUI server answers, checked where it comes in: whoever listens on that port may answer anything.

An answer of another form is an InputError that says what was asked; a file is asked for by what the server calls it,
and written under a name of ours (queue_entry.name_files).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    from aiohttp import ClientResponse

Json = dict[str, Any]
"""An object of ComfyUI's HTTP interface: /prompt, /history, /queue, and the messages of /ws."""

REVIEWED = ("drafts", "draft_latents")  # what a review node saves, by the keys of its output


async def read_answer(response: ClientResponse) -> Json:
    """The JSON object of an answer, whatever its status. Raises InputError for anything else."""
    text = await response.text(errors="replace")
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        asked = f"{response.method} {response.url.path}"
        raise InputError(f"{asked} was answered with status {response.status} and no JSON object: is it ComfyUI?")
    return answer


def parse_message(text: str) -> Json:
    """A message of the WebSocket; {} for one that is no object with an object as its data."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    well_formed = isinstance(message, dict) and isinstance(message.get("data") or {}, dict)
    return message if well_formed else {}


def list_queued(queue: Json) -> set[str]:
    """The prompt ids of /queue, running and pending."""
    items = [item for items in queue.values() if isinstance(items, list) for item in items]
    return {item[1] for item in items if isinstance(item, list) and len(item) > 1 and isinstance(item[1], str)}


def describe_refusal(answer: Json) -> str:
    """The server's reasons in one line."""
    error = answer.get("error") or {}
    if not isinstance(error, dict):
        return str(error)
    if error.get("type") == "missing_node_type":
        return f"the server lacks a node of the workflow: {error.get('message')}"
    nodes = answer.get("node_errors") or {}
    reasons = [
        f"{node.get('class_type')}: {reason.get('message')}, {reason.get('details')}"
        for node in (nodes.values() if isinstance(nodes, dict) else ())
        for reason in node.get("errors") or ()
    ]
    return "; ".join(reasons) or error.get("message") or "refused by the server"


def find_failure(history: Json) -> str | None:
    """Why a run ended early, or None. Raises InputError for a history of another form."""
    try:
        messages = [(kind, detail) for kind, detail in history["status"]["messages"]]
        failed = [detail["exception_message"].strip() for kind, detail in messages if kind.startswith("execution_err")]
    except (TypeError, KeyError, ValueError, AttributeError):
        raise InputError("the server's history of a prompt has no status that can be read: is it ComfyUI?") from None
    interrupted = any(kind == "execution_interrupted" for kind, _ in messages)
    return failed[0] if failed else "interrupted" if interrupted else None


def list_files(history: Json, drafts: bool) -> list[dict[str, str]]:
    """filename, subfolder and type of what the nodes of a run wrote to keep, as /view takes them.

    drafts: the videos that a review shows, else everything but those and their latents. Raises InputError for another
    form.
    """
    shown = ("drafts",) if drafts else ()
    try:
        outputs = [item for output in history["outputs"].values() for item in output.items()]
        entries = [
            entry for key, found in outputs if key in shown or not (drafts or key in REVIEWED) for entry in found
        ]
        files = [entry for entry in entries if isinstance(entry, dict) and entry.get("type") == "output"]
        return [{key: file[key] for key in ("filename", "subfolder", "type")} for file in files]
    except (TypeError, KeyError, AttributeError):
        raise InputError("the server's history of a prompt names no files that can be read: is it ComfyUI?") from None
