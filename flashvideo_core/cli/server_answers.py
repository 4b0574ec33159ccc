"""What a ComfyUI server answers, checked where it comes in: whoever listens on that port may answer anything.

An answer of another form is an InputError that says what was asked; a file is asked for by what the server calls it,
and written under a name of ours (queue_entry.name_files).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    from aiohttp import ClientResponse

Json = dict[str, Any]
"""An object of ComfyUI's HTTP interface: /prompt, /history, /queue, and the messages of /ws."""

File = dict[str, str]
"""filename, subfolder and type of a file, as /view takes them."""


LACKS_NODE = "the server lacks a node of the workflow"
DRAFT_KEYS = DRAFTS, LATENTS = "drafts", "draft_latents"  # under which a review tells its files, in one order


class AnswerError(InputError):
    """An answer that ComfyUI does not give. status: that of the answer, 200 where its content is wrong."""

    def __init__(self, text: str, status: int = 200):
        super().__init__(text)
        self.status = status


async def read_answer(response: ClientResponse) -> Json:
    """The JSON object of an answer, whatever its status. Raises InputError for anything else."""
    text = await response.text(errors="replace")
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        asked = f"{response.method} {response.url.path}"
        said = f"{asked} was answered with status {response.status} and no JSON object: is it ComfyUI?"
        raise AnswerError(said, response.status)
    return answer


def parse_message(text: str) -> Json:
    """A message of the WebSocket; {} for one that is no object with an object as its data."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    well_formed = isinstance(message, dict) and isinstance(message.get("data") or {}, dict)
    return message if well_formed else {}


def parse_progress(detail: Json) -> tuple[str, int, int] | None:
    """Node id, step from 1 and number of steps of a progress message; None for another form and before step 1."""
    try:
        step = int(detail["value"])
        return (str(detail.get("node")), step, int(detail.get("max") or step)) if step > 0 else None
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


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
        return f"{LACKS_NODE}: {error.get('message')}"
    return "; ".join(list_reasons(answer)) or str(error.get("message") or "refused by the server")


def list_reasons(answer: Json) -> list[str]:
    """What the server has against the nodes of a graph; empty for another form."""
    try:
        return [
            f"{node['class_type']}: {reason['message']}, {reason.get('details')}"
            for node in answer["node_errors"].values()
            for reason in node["errors"]
        ]
    except (TypeError, KeyError, AttributeError):
        return []


def find_failure(history: Json) -> str | None:
    """Why a run ended early, or None. Raises InputError for a history of another form."""
    try:
        messages = [(kind, detail) for kind, detail in history["status"]["messages"]]
        failed = [detail["exception_message"].strip() for kind, detail in messages if kind.startswith("execution_err")]
    except (TypeError, KeyError, ValueError, AttributeError):
        raise AnswerError("the server's history of a prompt has no status that can be read: is it ComfyUI?") from None
    interrupted = any(kind == "execution_interrupted" for kind, _ in messages)
    return failed[0] if failed else "interrupted" if interrupted else None


def list_saved(history: Json) -> list[File]:
    """What a run wrote into the server's output folder, without drafts. Raises InputError for another form."""
    with readable_history():
        outputs = [item for output in history["outputs"].values() for item in output.items()]
        found = [entry for key, entries in outputs if key not in DRAFT_KEYS for entry in entries]
        found = [entry for entry in found if isinstance(entry, dict)]
        return [describe_file(entry) for entry in found if entry.get("type") == "output"]


def list_node_files(history: Json, node_id: str, key: str) -> list[File]:
    """What one node tells under a key; empty where it told nothing. Raises InputError for another form."""
    with readable_history():
        return [describe_file(entry) for entry in history["outputs"].get(node_id, {}).get(key, [])]


def describe_file(entry: Json) -> File:
    return {key: str(entry[key]) for key in ("filename", "subfolder", "type")}


@contextmanager
def readable_history() -> Iterator[None]:
    try:
        yield
    except (TypeError, KeyError, AttributeError):
        raise AnswerError("the server's history of a prompt names no files that can be read: is it ComfyUI?") from None
