"""Loss and sampler share schedule and path: an exact model has no loss, and the sampler inverts the loss's noising."""

import pytest
import torch

from flashvideo_core.schedule import add_noise, stage2_times, velocity, velocity_to_denoised, zero_snr_sqrt_alphas
from flashvideo_core.solvers import euler_flow
from flashvideo_core.training.losses import stage1_loss, stage2_loss


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_stage1_loss_of_an_exact_model_is_zero():
    """The v that the loss asks for is the one from which the sampler recovers the clean latent."""
    z, table = randn(3, 16, 2, 4, 4), zero_snr_sqrt_alphas()

    def exact(x, timestep, txt):
        a = table[timestep.long()].view(-1, 1, 1, 1, 1)
        noise = (x - a * z) / (1 - a * a).sqrt()
        return velocity(z, noise, a)

    def recovered(x, timestep, txt):
        v, a = exact(x, timestep, txt), table[timestep.long()].view(-1, 1, 1, 1, 1)
        torch.testing.assert_close(velocity_to_denoised(x, v, a), z, rtol=0, atol=1e-4)
        return v

    generator = torch.Generator().manual_seed(0)
    assert float(stage1_loss(recovered, z, randn(3, 2, 4), generator)) < 1e-6
    assert float(stage1_loss(lambda x, t, txt: exact(x, t, txt) + 0.1, z, randn(3, 2, 4), generator)) == pytest.approx(
        0.01, rel=1e-3
    )


def test_the_stage2_loss_of_an_exact_model_is_zero_and_its_velocity_inverts_the_noising():
    """A model without loss, run by the sampler's Euler loop from the noised reference, returns the clean latent."""
    z, z_ref = randn(2, 16, 2, 4, 4), randn(2, 16, 2, 4, 4, seed=1)
    seen = []

    def exact(x, timestep, txt, ref_step):
        t = (1 - timestep / 1000).view(-1, 1, 1, 1, 1)
        v = (z - x) / (1 - t)
        seen.append((x, t, v, ref_step))
        return v

    assert float(stage2_loss(exact, z, z_ref, randn(2, 2, 4), 675, torch.Generator().manual_seed(0))) < 1e-4
    x, t, v, ref_step = seen[0]
    assert ref_step == 675
    noise = torch.Generator().manual_seed(0)
    start = add_noise(z_ref, torch.randn(z.shape, generator=noise), zero_snr_sqrt_alphas()[675])
    torch.testing.assert_close(x - t * v, start, rtol=0, atol=1e-3)
    out = euler_flow(lambda x, t: z - start, start, stage2_times(4))
    torch.testing.assert_close(out, z, rtol=0, atol=1e-5)
