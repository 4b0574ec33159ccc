"""The hand-off against the recorded one: frames -> resized -> encoded, in floating point throughout."""

import torch
from support.golden import CONFIG, ONE_PASS, STAGE2_SCALE, compare, load_golden

from flashvideo_core.handoff import prepare_reference, resize_frames
from flashvideo_core.sizes import floor_size
from flashvideo_core.vae import VAE

TARGET = tuple(CONFIG["handoff"]["target"])


def test_every_recorded_array(vae):
    golden = load_golden("handoff")
    frames = golden["stage1_frames"].permute(3, 0, 1, 2)[None] / 127.5 - 1
    draws, moments = iter(golden["noise"].split([5, 4, 4], dim=2)), []
    hook = vae.encoder.register_forward_hook(lambda module, args, out: moments.append(out))
    z = prepare_reference(frames=frames, vae=vae, size=TARGET, draw_noise=lambda mean: next(draws))
    hook.remove()
    ours = {
        "upsampled": resize_frames(frames, floor_size(TARGET)),
        "moments": torch.cat(moments, dim=2),
        "ref_latent": z.transpose(1, 2) * STAGE2_SCALE,
    }
    compare("handoff", ours, golden, {"stage1_frames", "noise"}, ONE_PASS)


def test_latent_and_frames_are_one_path(vae):
    z = torch.randn(1, 16, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    from_latent = prepare_reference(z, vae, size=(48, 64))
    assert torch.equal(from_latent, prepare_reference(frames=vae.decode(z), vae=vae, size=(48, 64)))
    assert from_latent.shape == (1, 16, 3, 6, 8)


def test_nothing_is_degraded_on_the_way(vae):
    """Equal to the hand-off in float64 up to rounding, and far from the one through 8-bit frames."""
    z = torch.randn(1, 16, 3, 4, 6, generator=torch.Generator().manual_seed(1))
    z_ref = prepare_reference(z, vae, size=(48, 64))
    exact = in_float64(vae, z)
    eight_bit = ((vae.decode(z) + 1) * 127.5).round() / 127.5 - 1
    through_8_bits = prepare_reference(frames=eight_bit, vae=vae, size=(48, 64))
    largest = exact.abs().max()
    rounding = (z_ref - exact).abs().max() / largest
    degraded = (through_8_bits - exact).abs().max() / largest
    assert rounding < 1e-5
    assert degraded > 100 * rounding


def in_float64(vae, z):
    """The same steps in double precision: decode, resize, encode."""
    double = VAE(vae.config).double()
    double.load_state_dict(vae.state_dict())
    frames = double.decode(z.double(), out=torch.empty(1, 3, 4 * z.shape[2] - 3, 32, 48, dtype=torch.float64))
    big = resize_frames(frames, (48, 64))
    moments = double.encoder(big, {})
    return moments.chunk(2, dim=1)[0]
