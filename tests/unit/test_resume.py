"""A run that is killed and gone on with: the bytes of one that was not, from the last evaluation or part on.

The process kills itself (SIGKILL) where a state has just been written; benchmarks/kills.py kills at random moments.
"""

from fractions import Fraction

import pytest
import torch
from support.cli_run import list_files, run
from support.killed_run import Kill, run_killed

from flashvideo_core import clip_parts, solver_file
from flashvideo_core.cli import clip_writer, state_file
from flashvideo_core.cli.main import main
from flashvideo_core.cli.record import Record
from flashvideo_core.plans import Passes, RefinePlan
from flashvideo_core.sampling_state import SamplingState
from flashvideo_core.schedule import stage2_times, zero_snr_sqrt_alphas
from flashvideo_core.settings import RefineSettings
from flashvideo_core.solvers import SolverState, dpmpp_2m_sde, euler_flow

PROMPT = "a red ball moves left"
DRAFT = ["--frames", "13", "--height", "32", "--width", "32", "--steps", "4", "--device", "cpu"]
SIZES = [*DRAFT, "--size", "32x48", "--refine-steps", "3"]
FOLDER = {"draft.safetensors", "draft.mp4", "final.mp4", "side_by_side.mp4", "clip.json"}


@pytest.fixture(autouse=True)
def every_state_is_kept(monkeypatch):
    """And a part of the video is one temporal group, of which the clip has two."""
    monkeypatch.setattr(solver_file, "SECONDS", 0.0)
    monkeypatch.setattr(clip_parts, "SEGMENT", 1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clip_parts, "SEGMENT", 1)
        assert main(["generate", PROMPT, *SIZES, "--output", str(folder)]) == 0
    return read(folder)


def read(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


KILLS = {
    "stage 1": (Kill("stage1", 3), "going on from evaluation 2 of 4"),
    "stage 2": (Kill("stage2", 2), "going on from evaluation 1 of 3"),
    "write": (Kill("parts", 1), "going on after part 1 of 2"),
}


@pytest.mark.parametrize("phase", KILLS)
def test_a_killed_run_is_gone_on_with_to_the_same_bytes(phase, whole, tmp_path, capsys):
    kill, says = KILLS[phase]
    command = ["generate", PROMPT, *SIZES, "--output", str(tmp_path)]
    run_killed(command, kill)
    hidden = {name for name in list_files(tmp_path) if name.startswith(".")}
    assert hidden - {".flashvideo.lock"}
    code, _, err = run(capsys, *command)
    assert code == 0 and says in err, err
    assert read(tmp_path) == whole and whole.keys() == FOLDER


@pytest.mark.parametrize("other", [["--seed", "1"], ["--cfg", "4"], ["--no-resume"]])
def test_the_state_of_another_run_is_not_taken(other, tmp_path, capsys):
    run_killed(["generate", PROMPT, *SIZES, "--output", str(tmp_path)], Kill("stage1", 3))
    assert ".sampling.safetensors" in list_files(tmp_path)
    _, _, err = run(capsys, "draft", PROMPT, *DRAFT, *other, "--output", tmp_path)
    assert "going on" not in err and list_files(tmp_path) == {"draft.safetensors", "draft.mp4"}


def test_a_run_that_is_to_keep_nothing_keeps_nothing(whole, tmp_path, capsys, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    command = ["generate", PROMPT, *SIZES, "--no-resume", "--output", tmp_path]
    with monkeypatch.context() as patch:
        patch.setattr(clip_writer, "join_videos", stop)
        code, _, err = run(capsys, *command)
    assert code == 130 and "the finished draft is kept" in err
    assert list_files(tmp_path) == {"draft.safetensors", "draft.mp4"}
    assert run(capsys, *command)[0] == 0 and read(tmp_path) == whole


def test_a_state_is_written_at_most_every_few_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr(solver_file, "SECONDS", 5.0)
    refine = RefineSettings(height=32, width=48, steps=6, cfg=1.0, shift=2.5, ref_step=30)
    weights = {name: {"file": name, "sha256": "0"} for name in ("stage2", "vae", "text")}
    source = {"file": "film.mp4", "sha256": "0"}
    record = Record("x", None, refine, weights, "float32", "cpu", Fraction(8), source=source)
    now, kept = [0.0], []
    states = state_file.StateFile(tmp_path / "state.safetensors", record, "stage2", clock=lambda: now[0])
    for step, now[0] in enumerate((1, 4.9, 5, 9.9, 30, 31)):
        states.keep(SamplingState(SolverState(step, torch.full((2,), float(step))), RefinePlan(passes=Passes(step, 0))))
        found = states.find()
        kept.append(found and (found.solver.step, found.solver.x.tolist(), found.plan.passes.cond))
    second, fourth = (2, [2.0, 2.0], 2), (4, [4.0, 4.0], 4)
    assert kept == [None, None, second, second, fourth, fourth]
    (tmp_path / "state.safetensors").write_bytes(b"damaged")
    assert states.find() is None


def test_solvers_go_on_from_every_state():
    """With the noise of the steps before drawn again."""
    alphas = zero_snr_sqrt_alphas()[[999, 800, 500, 200, 0]].clone()
    alphas[-1] = 1.0
    x = torch.randn(1, 2, 3, generator=torch.Generator().manual_seed(0))

    def sample(resume=None, on_state=None):
        generator = torch.Generator().manual_seed(1)
        draw_noise = lambda x: torch.randn(x.shape, generator=generator)  # noqa: E731
        return dpmpp_2m_sde(lambda x, i: 0.9 * x.tanh(), x, alphas, draw_noise, None, resume, on_state)

    def flow(resume=None, on_state=None):
        return euler_flow(lambda x, t: x.sin() + t, x, stage2_times(4), None, resume, on_state)

    for solve in (sample, flow):
        states = []
        end = solve(on_state=states.append)
        assert [state.step for state in states] == [0, 1, 2, 3]
        assert all(torch.equal(solve(state), end) for state in states)
