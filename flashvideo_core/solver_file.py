"""The state of a sampler between two evaluations, on disk: what a run that was killed goes on from."""

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from .errors import InputError, WriteError
from .solvers import SolverState
from .types import Clock
from .weights.atomic import save_weights
from .weights.reader import open_safetensors

METADATA_KEY = "flashvideo_sampling"
SECONDS = 5.0  # between two states: quicker evaluations are not slowed by writing, slower ones are all kept


@dataclass
class SolverFile:
    """Where the states of one sampling go, each in place of the one before."""

    path: Path
    clock: Clock = time.monotonic
    written: float = field(init=False)

    def __post_init__(self) -> None:
        self.written = self.clock()

    def keep(self, state: SolverState, belongs_to: Mapping[str, Any]) -> None:
        """Called before each evaluation; writes a state where the last one, or the start, is SECONDS ago.

        belongs_to: what `find` gives back beside it, which JSON can hold.
        """
        if self.clock() - self.written < SECONDS:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {"x": state.x, "previous": state.previous}
        tensors = {name: x.contiguous().cpu() for name, x in tensors.items() if x is not None}
        with suppress(WriteError):  # a full disk: what follows may still be small enough for it
            save_weights(self.path, tensors, {METADATA_KEY: json.dumps({**belongs_to, "step": state.step})})
        self.written = self.clock()

    def find(self) -> tuple[SolverState, dict[str, Any]] | None:
        """The last state and what it belongs to; None where there is none, or a damaged one."""
        try:
            file = open_safetensors(self.path)
            values = json.loads(file.metadata[METADATA_KEY])
            state = SolverState(values["step"], file.tensors["x"].clone(), _clone(file.tensors.get("previous")))
        except (InputError, ValueError, KeyError, TypeError):
            return None
        return state, values


def _clone(x: Tensor | None) -> Tensor | None:
    """Apart from the file, which is written over."""
    return None if x is None else x.clone()
