"""A stage stopped between two evaluations: what a later run goes on from, to the same bits."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypedDict

from .components import Pipeline
from .guidance import COND, UNCOND
from .plans import DraftPlan, Passes, RefinePlan
from .solvers import OnState, SolverState


@dataclass(frozen=True)
class SamplingState:
    """A stage stopped between two evaluations. plan counts the passes so far."""

    solver: SolverState
    plan: DraftPlan | RefinePlan


OnSampling = Callable[[SamplingState], None]
"""on_state(state) is called before each evaluation of a stage."""


class ResumeOptions(TypedDict):
    """What both samplers take to go on from a state and to give their own (solvers.py)."""

    resume: SolverState | None
    on_state: OnState | None


def bind_state(
    pipe: Pipeline,
    resume: SamplingState | None,
    on_state: OnSampling | None,
    plan: DraftPlan | RefinePlan,
    evaluated: Mapping[str, int],
) -> ResumeOptions:
    """What a sampler takes to go on from a state and to give its own, with plan and the passes that were evaluated."""

    def keep(solver: SolverState) -> None:
        on_state(SamplingState(solver, replace(plan, passes=Passes.count(evaluated))))

    return {"resume": resume and resume.solver.to(pipe.device), "on_state": on_state and keep}


def count_passes(state: SamplingState | None) -> Counter[str]:
    """What was evaluated before this run, by branch."""
    passes = state and state.plan.passes
    return Counter({COND: passes.cond, UNCOND: passes.uncond}) if passes else Counter()
