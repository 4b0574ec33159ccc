"""The state of a stage between two evaluations, on disk beside the draft until the stage is finished.

It belongs to one record, and to the software and threads on which bits depend; of anything else it is not looked at.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..plans import DraftPlan, Passes, RefinePlan
from ..sampling_state import SamplingState
from ..solver_file import SolverFile
from ..types import Clock
from .record import Record


@dataclass
class StateFile:
    """Where the states of a stage ("stage1", "stage2") of a record go."""

    path: Path
    record: Record
    stage: str
    clock: Clock = time.monotonic
    file: SolverFile = field(init=False)

    def __post_init__(self) -> None:
        self.file = SolverFile(self.path, self.clock)

    def keep(self, state: SamplingState) -> None:
        """Called before each evaluation (`SolverFile.keep`)."""
        values = {"plan": state.plan.to_json(), "passes": asdict(state.plan.passes)}
        self.file.keep(state.solver, {"stage": self.stage, "record": self.record.to_json(), **values})

    def find(self) -> SamplingState | None:
        """The last state of this very stage, if an earlier run was stopped in it."""
        if (found := self.file.find()) is None:
            return None
        solver, values = found
        try:
            if not self._is_own(values):
                return None
            plan = (DraftPlan if self.stage == "stage1" else RefinePlan).from_json(values["plan"])
            passes = Passes(**values["passes"])
        except (InputError, ValueError, KeyError, TypeError):
            return None
        return SamplingState(solver, replace(plan, passes=passes))

    def _is_own(self, values: Mapping[str, Any]) -> bool:
        found = Record.from_json(values["record"])
        same_machine = (found.kernel, found.software) == (self.record.kernel, self.record.software)
        return values["stage"] == self.stage and found == self.record and same_machine
