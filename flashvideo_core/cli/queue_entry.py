"""A prompt on its way through a ComfyUI server: its graph, its folder, and its record on disk."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict

from ..weights.atomic import atomic_write
from .outputs import clip_name
from .workflow import REVIEW, Graph, PromptLine, find_ids, fingerprint, nodes_of_class


class QueueRecord(TypedDict, total=False):
    """drafts.json or clip-CHOICE.json without its `workflow`, which is there for people. error is None or one line;
    files are names beside the record."""

    prompt: str
    prompt_id: str
    state: Literal["queued", "done", "failed"]
    error: str | None
    files: list[str]


@dataclass
class QueueEntry:
    """`targets` are the ids of the nodes to stop at, None for the whole graph; `path` is that of the record."""

    name: str
    graph: Graph
    targets: list[str] | None
    path: Path
    record: QueueRecord

    def is_done(self) -> bool:
        """Whether all files of an earlier run are there."""
        files = self.record.get("files", [])
        return self.record.get("state") == "done" and all((self.path.parent / name).exists() for name in files)

    def update_record(self, changes: QueueRecord) -> None:
        """Also on disk."""
        self.record.update(changes)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._write(self.path, json.dumps({**self.record, "workflow": self.graph}, indent=2).encode())

    def write_file(self, name: str, content: bytes) -> None:
        """Beside the record."""
        self._write(self.path.parent / name, content)

    @staticmethod
    def _write(path: Path, content: bytes) -> None:
        with atomic_write(path) as partial:
            partial.write_bytes(content)


def open_entry(line: PromptLine, graph: Graph, folder: Path, drafts: bool) -> QueueEntry:
    """The entry of a line whose values are in the graph, with the record of an earlier run if there was one."""
    choice = next((node["inputs"]["choice"] for node in nodes_of_class(graph, REVIEW)), 0)
    name = f"{clip_name(line.prompt, 0)[:-2]}-{fingerprint(graph)}"
    path = folder / name / ("drafts.json" if drafts else f"clip-{choice}.json")
    earlier = json.loads(path.read_text()) if path.exists() else {}
    earlier.pop("workflow", None)
    record: QueueRecord = {"prompt": line.prompt, **earlier}
    return QueueEntry(name, graph, find_ids(graph, REVIEW) if drafts else None, path, record)


def name_files(files: list[dict[str, str]], record_name: str) -> list[str]:
    """A plain name beside the record for each file that a server names, none twice.

    What a server calls a file may hold folders or be absolute; its last component is kept. Names that are equal, hidden
    or the record's own get a number in front.
    """
    names: list[str] = []
    for number, file in enumerate(files):
        name = re.split(r"[/\\]", str(file["filename"]))[-1].replace("\0", "").lstrip(".")
        if not name or name == record_name or name in names:
            name = f"{number}-{name or 'file'}"
        names.append(name)
    return names
