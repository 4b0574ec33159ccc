"""A prompt on its way through a ComfyUI server: its graph, its folder, and its record on disk."""

import glob
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict

from ..errors import InputError
from ..settings import check_choice
from ..weights.atomic import atomic_write
from .outputs import clip_name
from .queue_drafts import is_latent, join_drafts
from .server_answers import File
from .workflow import (
    REVIEW,
    Graph,
    LatentFile,
    PromptLine,
    find_ids,
    find_upstream,
    fingerprint,
    is_node,
    nodes_of_class,
)

DRAFTS = "drafts.json"


class QueueRecord(TypedDict, total=False):
    """drafts.json or clip-CHOICE.json. error is None or one line; files are names beside the record; workflow, on disk
    only, is the graph with the line's values."""

    prompt: str
    prompt_id: str
    state: Literal["queued", "done", "failed"]
    error: str | None
    files: list[str]
    workflow: Graph


@dataclass
class QueueEntry:
    """`targets` are the ids of the nodes to stop at, None for the whole graph; `path` is that of the record.

    latent: of a draft from elsewhere, which the graph loads.
    """

    name: str
    graph: Graph
    targets: list[str] | None
    path: Path
    record: QueueRecord
    latent: LatentFile | None = None

    def is_done(self) -> bool:
        """Whether all files of an earlier run are there."""
        return has_all_files(self.record, self.path.parent)

    def read_drafts(self) -> bytes | None:
        """The drafts that this clip is refined from, as one file; None where they are not on disk.

        Raises InputError for a damaged file, and if none of them is the chosen one.
        """
        if self.latent is not None:
            return join_drafts([self.latent.path])
        choice = find_choice(self.graph)
        latents = [] if self.targets or choice is None else self._find_latents()
        if not latents:
            return None
        check_choice(choice, len(latents))
        return join_drafts(latents)

    def _find_latents(self) -> list[Path]:
        """In the own folder, or in another one of this prompt, which differs in what is behind the review only."""
        own, wanted = self.path.parent, fingerprint(find_upstream(self.graph, REVIEW))
        same_prompt = f"{glob.escape(own.name.rpartition('-')[0])}-*"
        for folder in [own, *sorted(own.parent.glob(same_prompt))]:
            drafts = read_record(folder / DRAFTS)
            latents = [folder / name for name in drafts.get("files", []) if is_latent(name)]
            same = fingerprint(find_upstream(drafts.get("workflow", {}), REVIEW)) == wanted
            if latents and same and has_all_files(drafts, folder):
                return latents
        return []

    def taken_names(self) -> set[str]:
        """Of the files beside the record that belong to other records, and of all records."""
        records = list(self.path.parent.glob("*.json"))
        others = [read_record(path).get("files", []) for path in records if path != self.path]
        return {self.path.name, *(path.name for path in records), *(name for names in others for name in names)}

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
    name = f"{clip_name(line.prompt, 0)[:-2]}-{fingerprint(graph)}"
    path = folder / name / (DRAFTS if drafts else f"clip-{find_choice(graph) or 0}.json")
    record: QueueRecord = {"prompt": line.prompt, **read_record(path)}
    record.pop("workflow", None)
    return QueueEntry(name, graph, find_ids(graph, REVIEW) if drafts else None, path, record, line.latent)


def read_record(path: Path) -> QueueRecord:
    """Empty where there is none. Raises InputError for a damaged one."""
    try:
        record = json.loads(path.read_text()) if path.exists() else {}
        files = record.get("files", [])
        damaged = not isinstance(files, list) or not all(isinstance(name, str) for name in files)
        damaged |= not all(map(is_node, record.get("workflow", {}).values()))
    except (ValueError, RecursionError, AttributeError):
        damaged = True
    if damaged:
        raise InputError(f"{path} is damaged: without it, its clip is queued anew")
    return record


def has_all_files(record: QueueRecord, folder: Path) -> bool:
    return record.get("state") == "done" and all((folder / name).exists() for name in record.get("files", []))


def find_choice(graph: Graph) -> int | None:
    """Which draft is refined; None without a review or where the number comes over a wire."""
    choice = next((node["inputs"].get("choice") for node in nodes_of_class(graph, REVIEW)), None)
    return choice if isinstance(choice, int) else None


def name_files(files: list[File], taken: set[str]) -> list[str]:
    """A plain name for each file that a server names, none twice and none that is taken.

    What a server calls a file may hold folders or be absolute; its last component is kept, without dots before it.
    Names that are equal or taken get a number in front.
    """
    names: list[str] = []
    for number, file in enumerate(files):
        plain = re.split(r"[/\\]", file["filename"])[-1].replace("\0", "").lstrip(".") or "file"
        name = plain
        while name in taken or name in names:
            name, number = f"{number}-{plain}", number + 1
        names.append(name)
    return names
