"""The training loop on a toy: what it learns, resuming bit for bit, gradients that are not finite, accumulation."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from flashvideo_core.training.loop import LoopConfig, fit, get_learning_rate, make_state
from flashvideo_core.training.loss_log import read_log
from flashvideo_core.training.state import load_state

LOOP = LoopConfig(steps=12, lr=0.05, warmup=2, save_every=4, autocast=False)


class Killed(Exception):
    pass


def toy(loop=LOOP, folder=None, kill_at=None):
    """Fits a linear map to a known one; optionally dies in the middle of a step."""
    torch.manual_seed(0)
    model, truth = nn.Linear(4, 3), torch.arange(12.0).view(3, 4) / 12

    def loss(generator):
        x = torch.randn(32, 4, generator=generator)
        return (model(x) - x @ truth.T).square().mean()

    def on_step(step, _):
        if step == kill_at:
            raise Killed

    return model, fit(model, loss, loop, folder, on_step)


def test_a_known_map_is_recovered(tmp_path):
    model, _ = toy(replace(LOOP, steps=300), tmp_path)
    torch.testing.assert_close(model.weight.data, torch.arange(12.0).view(3, 4) / 12, atol=0.01, rtol=0)


@pytest.mark.parametrize("kill_at", [0, 3, 5, 9])
def test_a_killed_run_resumes_bit_for_bit(tmp_path, kill_at):
    model, ema = toy(folder=tmp_path / "whole")
    with pytest.raises(Killed):
        toy(folder=tmp_path / "killed", kill_at=kill_at)
    again, ema_again = toy(folder=tmp_path / "killed")
    assert torch.equal(model.weight, again.weight)
    assert all(torch.equal(ema[name], ema_again[name]) for name in ema)
    assert read_log(tmp_path / "whole" / "loss.csv") == read_log(tmp_path / "killed" / "loss.csv")


def test_gradients_that_stay_nan_end_the_run(tmp_path):
    """A few such steps are skipped; a run in which nothing is learned any more says so instead of going on."""
    model, bad = nn.Linear(1, 1), set(range(3, 9))
    steps = iter(range(60))
    scale = {True: float("nan"), False: 1.0}
    fit(model, lambda generator: model.weight.sum() * scale[next(steps) in bad], LOOP, tmp_path / "some")
    assert torch.isfinite(model.weight).all()
    loop = replace(LOOP, steps=50)
    with pytest.raises(ValueError, match="20 steps in a row, up to step 19, were not finite"):
        fit(model, lambda generator: model.weight.sum() * float("nan"), loop, tmp_path / "all")
    assert torch.isfinite(model.weight).all()


def test_a_state_of_another_model_is_refused(tmp_path):
    toy(folder=tmp_path)
    with pytest.raises(ValueError, match="belongs to another model"):
        fit(nn.Bilinear(1, 1, 1), lambda generator: None, LOOP, tmp_path)


def test_a_state_of_another_device_goes_on_with_this_ones_optimizer(tmp_path):
    """On CUDA AdamW is one kernel, and a state notes it."""
    toy(folder=tmp_path)
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    saved["optimizer"]["param_groups"][0]["fused"] = True
    torch.save(saved, tmp_path / "state.pt")
    state = make_state(nn.Linear(4, 3), LOOP)
    assert load_state(tmp_path / "state.pt", state) == LOOP.steps
    assert state.optimizer.param_groups[0]["fused"] is None


def test_accumulation_averages_its_micro_batches(tmp_path):
    """Two micro-batches give the gradient of their mean."""
    model = nn.Linear(4, 1, bias=False)
    nn.init.zeros_(model.weight)
    seen = []

    def loss(generator):
        x = torch.randn(8, 4, generator=generator)
        seen.append(x)
        return model(x).sum() / 8

    fit(model, loss, replace(LOOP, steps=1, accumulate=2, clip=1e9, weight_decay=0.0), tmp_path)
    assert not torch.equal(seen[0], seen[1])
    expected = -torch.sign(torch.cat(seen).mean(0)) * get_learning_rate(LOOP, 0)  # Adam's first step
    torch.testing.assert_close(model.weight[0].detach(), expected, atol=1e-5, rtol=0)


def test_learning_rate_warms_up_and_falls():
    config = LoopConfig(steps=100, lr=1.0, warmup=10)
    rates = [get_learning_rate(config, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True) and rates[-1] == pytest.approx(0.05, abs=0.01)
