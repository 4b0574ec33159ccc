"""What is expected of the phases of a clip before they run."""

from types import SimpleNamespace

import pytest

from flashvideo_core.cli.phase_costs import count_draft, count_refine
from flashvideo_core.config import STAGE1, STAGE2, VAE
from flashvideo_core.settings import DraftSettings, RefineSettings

PIPE = SimpleNamespace(
    **{name: SimpleNamespace(config=config) for name, config in (("stage1", STAGE1), ("stage2", STAGE2), ("vae", VAE))}
)
PIPE.decoder = None


def refine(frames=49, pipe=PIPE, **named):
    return count_refine(pipe, frames, RefineSettings.from_defaults(STAGE2.defaults, **named))


def test_the_phases_of_a_clip_in_their_order():
    draft = count_draft(PIPE, DraftSettings.from_defaults(STAGE1.defaults))
    assert list(draft | refine()) == ["stage1", "draft_decode", "handoff", "stage2", "decode"]
    assert refine()["stage2"] == pytest.approx(22.45e15, rel=1e-3)  # docs/benchmarks.md
    assert refine(52) == refine(49)


@pytest.mark.parametrize(
    ("named", "share"),
    [
        ({"cfg": 1.0}, 0.5),
        ({"guided_evaluations": 1}, 5 / 8),
        ({"steps": 8}, 2),
        ({"window_height": 24, "window_width": 40, "dense_evaluations": 1}, 0.25 + 0.75 * 0.590 / 2.81),
    ],
)
def test_what_stage_2_is_spared_is_not_counted(named, share):
    assert refine(**named)["stage2"] == pytest.approx(share * refine()["stage2"], rel=2e-3)


def test_a_long_clip_costs_a_window_for_each_of_its_windows():
    assert refine(193, windows="time")["stage2"] == pytest.approx(5 * refine()["stage2"], rel=1e-6)  # 49 latent frames
    assert refine(193)["decode"] == pytest.approx(4 * refine()["decode"], rel=0.1)


def test_a_small_decoder_is_quick():
    quick = SimpleNamespace(**vars(PIPE) | {"decoder": object()})
    assert (
        refine(pipe=quick)["decode"] < refine()["decode"] / 10 and refine(pipe=quick)["handoff"] == refine()["handoff"]
    )
