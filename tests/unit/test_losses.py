"""What the losses teach: a known field is recovered, and the sampler undoes what the loss does."""

import pytest
import torch
from torch import nn

from flashvideo_core.schedule import add_noise, shift_times, stage2_times, zero_snr_sqrt_alphas
from flashvideo_core.solvers import euler_flow
from flashvideo_core.training.loop import LoopConfig, fit
from flashvideo_core.training.losses import drop_text, stage2_loss
from flashvideo_core.training.randomness import step_generator

SHAPE = (8, 16, 1, 4, 4)
REF_STEP = 300
TXT = torch.zeros(8, 1, 1)


class Linear(nn.Module):
    """The velocity a + t b + (1 - t) c x with a channel's a, b and c: linear in the state."""

    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(3, 16))

    def forward(self, x, timestep, txt, ref_step):
        a, b, c = (w.view(1, 16, 1, 1, 1) for w in self.weights)
        t = (1 - timestep / 1000).view(-1, 1, 1, 1, 1)
        return a + t * b + (1 - t) * c * x


def test_a_linear_field_is_recovered(tmp_path):
    """z_ref and z stand a fixed step apart and no noise is mixed in: the velocity is that step, everywhere."""
    model, step = Linear(), torch.linspace(-1, 1, 16).view(1, 16, 1, 1, 1)

    def loss(generator):
        z_ref = torch.randn(SHAPE, generator=generator)
        return stage2_loss(model, z_ref + step, z_ref, TXT, 0, generator)

    fit(model, loss, LoopConfig(steps=400, lr=0.05, warmup=10, clip=10.0, autocast=False), tmp_path)
    a, b, c = model.weights.detach()
    torch.testing.assert_close(a + 0.5 * b, step.flatten(), atol=0.02, rtol=0)
    assert c.abs().max() < 0.05


@pytest.mark.parametrize("steps", [1, 4])
def test_the_sampler_undoes_what_the_loss_does(steps):
    """A model that gives the loss zero leads from the noised reference to the clean latent, in any number of steps."""
    torch.manual_seed(0)
    z, z_ref, seen = torch.randn(SHAPE), torch.randn(SHAPE), []

    def exact(x, timestep, txt, ref_step):
        """dx/dt at t is (z - x) / (1 - t) on the straight path to z."""
        seen.append((x, timestep))
        return (z - x) * (1000 / timestep.view(-1, 1, 1, 1, 1))

    assert float(stage2_loss(exact, z, z_ref, TXT, REF_STEP, torch.Generator().manual_seed(0))) < 1e-5
    start = add_noise(z_ref, torch.randn(SHAPE), zero_snr_sqrt_alphas()[REF_STEP])
    timestep = lambda t: torch.full((SHAPE[0],), 1000 * (1 - t))  # noqa: E731
    out = euler_flow(lambda x, t: exact(x, timestep(t), TXT, REF_STEP), start, stage2_times(steps))
    torch.testing.assert_close(out, z, atol=1e-4, rtol=0)
    assert all(float(t.min()) > 0 and float(t.max()) <= 1000 for _, t in seen)


def test_a_shift_draws_the_same_times_towards_the_samplers():
    """Times drawn evenly lie as the sampler's do: as many between two of its evaluations as between any others."""
    seen = {}
    for shift in (1.0, 2.5):

        def model(x, timestep, txt, ref_step, shift=shift):
            seen[shift] = 1 - timestep / 1000
            return x

        z = torch.zeros(4000, 16, 1, 1, 1)
        stage2_loss(model, z, z, torch.zeros(4000, 1, 1), 0, torch.Generator().manual_seed(0), shift=shift)
    torch.testing.assert_close(seen[2.5], shift_times(seen[1.0], 2.5))
    for shift, times in seen.items():
        counts = torch.histogram(times, stage2_times(4, shift)).hist
        assert (counts - 1000).abs().max() < 100, shift  # 3.6 standard deviations of 27


def test_text_is_dropped_by_the_item_at_its_rate():
    txt = torch.ones(4000, 2, 3)
    dropped = drop_text(txt, 0.1, step_generator(0, 0))
    kept = dropped.flatten(1).sum(1)
    assert set(kept.tolist()) == {0.0, 6.0}
    assert 0.08 < (kept == 0).float().mean() < 0.12
