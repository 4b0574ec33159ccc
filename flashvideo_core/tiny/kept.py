"""Measurements that are kept in a folder as they are made, so that an evaluation goes on where it was stopped."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..components import Pipeline
from ..training.cache import hash_json
from ..training.run_record import check_same_run
from ..types import ProgressCallback
from ..weights.atomic import atomic_write, check_writable
from ..weights.reader import file_sha256
from .held_out import HeldOutPrompt

ITEMS = "items"

Found = Mapping[str, Any]
"""What was measured, as JSON has it."""


class Task(NamedTuple):
    """One measurement; its name is that of its file."""

    name: str
    measure: Callable[[], Found]


Tasks = Mapping[str, Sequence[Task]]
"""By the phase of progress that they are in."""


def run_tasks(tasks: Tasks, folder: Path | None = None, callback: ProgressCallback | None = None) -> dict[str, Found]:
    """What each task has found, by its name; what the folder has is not measured again. callback follows every task."""
    found = {}
    for phase, some in tasks.items():
        for i, task in enumerate(some):
            found[task.name] = task.measure() if folder is None else keep(folder / ITEMS / f"{task.name}.json", task)
            if callback is not None:
                callback(phase, i + 1, len(some), None)
    return found


def keep(path: Path, task: Task) -> Found:
    """What the file has, else what the task finds, which it has then."""
    if path.exists():
        return json.loads(path.read_text())
    found = task.measure()
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(found) + "\n")
    return found


def open_folder(folder: Path, pipe: Pipeline, asked: Sequence[HeldOutPrompt], options: Mapping[str, object]) -> None:
    """Makes the folder, or checks that what it has was measured on the same weights, world, device and options.

    Raises InputError for the measurements of another model, and for a folder that cannot be written.
    """
    check_writable(folder)
    record = {"options": options, **hash_components(pipe.files), "world": hash_world(asked)}
    record |= {"device": pipe.device.type, "dtype": str(pipe.dtype).removeprefix("torch.")}
    check_same_run(folder, json.loads(json.dumps(record)), evidence=ITEMS)
    (folder / ITEMS).mkdir(exist_ok=True)


def hash_components(files: Mapping[str, Path]) -> dict[str, str]:
    """The SHA-256 of each file; a T5 encoder, which is a folder, by its path."""
    return {name: str(path.resolve()) if path.is_dir() else file_sha256(path) for name, path in files.items()}


def hash_world(asked: Sequence[HeldOutPrompt]) -> str:
    """Of some scenes and their prompts: they change with the world that the model was trained for."""
    return hash_json([[prompt.prompt, dataclasses.asdict(prompt.scene)] for prompt in asked])
