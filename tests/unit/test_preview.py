"""The fit of the live preview's colours."""

import torch

from flashvideo_core.tiny.preview import fit_latent_rgb


def test_a_linear_decoder_is_recovered():
    """Frames that are a linear map of the latent, enlarged: the fit is that map."""
    torch.manual_seed(0)
    z, rows = torch.randn(2, 16, 3, 4, 6), torch.randn(17, 3)
    small = torch.einsum("bcthw,cr->brthw", z, rows[:16]) + rows[16].view(1, 3, 1, 1, 1)
    frames = torch.zeros(2, 3, 9, 32, 48)
    frames[:, :, ::4] = small.repeat_interleave(8, dim=3).repeat_interleave(8, dim=4)
    assert torch.allclose(fit_latent_rgb(z, frames), rows, atol=1e-4)
