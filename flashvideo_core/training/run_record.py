"""run.json: what the weights of a run depend on, so that a folder is only ever gone on with by the same run."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..weights.atomic import atomic_write
from .cache import CachedClip, hash_json
from .distributed import SINGLE_PROCESS, World
from .options import TrainingOptions, list_kept
from .prepare import WeightFiles

RunRecord = Mapping[str, Any]
"""Whatever JSON a run depends on; its key "options" holds a mapping of its own."""


def make_run_record(options: TrainingOptions, weights: WeightFiles, clips: Sequence[CachedClip]) -> RunRecord:
    """The record of a run on own clips: options, start weights, data, and where it computes."""
    names = [[file.name for file in (clip.z, *clip.refs, clip.txt)] for clip in clips]
    start = weights.hashes[f"stage{options.stage}"]
    record = {
        "options": list_kept(options),
        "weights": start,
        "dtype": str(weights.dtype),
        "device": weights.device.type,
    }
    return json.loads(json.dumps(record | {"clips": len(clips), "data": hash_json(names)}))


def check_same_run(folder: Path, record: RunRecord, world: World = SINGLE_PROCESS, evidence: str = "state.pt") -> None:
    """Writes run.json, or raises InputError when what is in the folder belongs to another run.

    A run.json alone proves nothing: only a folder that has the file `evidence` has been trained in.
    """
    path = folder / "run.json"
    if (folder / evidence).exists() and path.exists():
        before = json.loads(path.read_text())
        for name, value in (record["options"] | record).items():
            there = (before["options"] | before).get(name)
            if name != "options" and there != value:
                raise InputError(f"{folder} holds another run: {name} is {there} there, {value} here; choose another")
    elif world.first:
        with atomic_write(path) as partial:
            partial.write_text(json.dumps(record, indent=1) + "\n")
