"""The state of a stage between two evaluations, on disk: what a run that was killed goes on from.

Beside the draft until the stage is finished. It belongs to one record, and to the software and threads on which bits
depend; of anything else it is not looked at.
"""

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import InputError, WriteError
from ..plans import DraftPlan, Passes, RefinePlan
from ..sampling_state import SamplingState
from ..solvers import SolverState
from ..types import Clock
from ..weights.atomic import save_weights
from ..weights.reader import open_safetensors
from .record import Record

METADATA_KEY = "flashvideo_sampling"
SECONDS = 5.0  # between two states: quicker evaluations are not slowed by writing, slower ones are all kept


@dataclass
class StateFile:
    """Where the states of a stage ("stage1", "stage2") of a record go."""

    path: Path
    record: Record
    stage: str
    clock: Clock = time.monotonic
    written: float = field(init=False)

    def __post_init__(self) -> None:
        self.written = self.clock()

    def keep(self, state: SamplingState) -> None:
        """Called before each evaluation; writes a state where the last one, or the start, is SECONDS ago."""
        if self.clock() - self.written < SECONDS:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {"x": state.solver.x, "previous": state.solver.previous}
        tensors = {name: x.contiguous().cpu() for name, x in tensors.items() if x is not None}
        values = {"step": state.solver.step, "plan": state.plan.to_json(), "passes": asdict(state.plan.passes)}
        with suppress(WriteError):  # a full disk: what follows may still be small enough for it
            save_weights(self.path, tensors, {METADATA_KEY: json.dumps({**self._key(), **values})})
        self.written = self.clock()

    def find(self) -> SamplingState | None:
        """The last state of this very stage, if an earlier run was stopped in it."""
        try:
            file = open_safetensors(self.path)
            values = json.loads(file.metadata[METADATA_KEY])
            if not self._is_own(values):
                return None
            plan = (DraftPlan if self.stage == "stage1" else RefinePlan).from_json(values["plan"])
            solver = SolverState(values["step"], file.tensors["x"].clone(), _clone(file.tensors.get("previous")))
            passes = Passes(**values["passes"])
        except (InputError, ValueError, KeyError, TypeError):
            return None
        return SamplingState(solver, replace(plan, passes=passes))

    def _is_own(self, values: Mapping[str, Any]) -> bool:
        found = Record.from_json(values["record"])
        same_machine = (found.kernel, found.software) == (self.record.kernel, self.record.software)
        return values["stage"] == self.stage and found == self.record and same_machine

    def _key(self) -> dict[str, Any]:
        return {"stage": self.stage, "record": self.record.to_json()}


def _clone(x: Tensor | None) -> Tensor | None:
    """Apart from the file, which is written over."""
    return None if x is None else x.clone()
