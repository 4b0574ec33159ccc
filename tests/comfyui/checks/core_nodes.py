"""ComfyUI's nodes around our MODEL: every row of core_table.py, each against the same sampling by hand.

A scenario makes the patched MODEL and, where the node works, the denoiser that it should amount to.
"""

from collections.abc import Callable

from core_table import ROWS, Row

from . import core_guidance, core_guiders, core_models, core_patches, core_runs
from .by_hand import Scenario, count_calls, count_passes, euler, make_case, sample
from .setting import assert_close, raises

SCENARIOS: dict[str, Scenario] = {
    name: scenario
    for module in (core_guidance, core_guiders, core_patches, core_models, core_runs)
    for name, scenario in module.SCENARIOS.items()
}


def run(row: Row, stage: int) -> None:
    case = make_case(stage, row.mask)
    if row.verdict == "refused":
        with raises(ValueError, row.says):
            sample(case, SCENARIOS[row.node](case)[0])
        return
    model, denoiser = SCENARIOS[row.node](case)
    with (count_calls if row.compiled else count_passes)(model) as passes:
        got = sample(case, model)
    assert sum(passes) == row.passes, passes
    assert_close(got, euler(case, denoiser), row.tolerance)
    plain = sample(make_case(stage), case.model)
    changed = float((got - plain).abs().max() / plain.abs().max())
    assert (changed > 10 * row.tolerance) != row.same, f"differs from the unpatched result by {changed:.1e}"


CASES: dict[str, Callable[[], None]] = {
    name: (lambda row=row, stage=stage: run(row, stage))
    for row in ROWS
    for name, stage in zip(row.names, row.stages, strict=True)
}
