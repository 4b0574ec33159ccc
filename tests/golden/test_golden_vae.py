"""The VAE against the recorded encodes, decodes and the released two-strip decode."""

import pytest
import torch
from support.golden import ONE_PASS, STAGE2_SCALE, compare, load_golden
from torch import Tensor

from flashvideo_core.tiling import decode_released_strips
from flashvideo_core.vae import decode_groups, encode_groups


@pytest.mark.parametrize("frames", [1, 9, 17, 49])
def test_encode(vae, frames):
    golden = load_golden("vae", f"enc{frames}.")
    z, moments = encode(vae, golden["x"], golden["noise"])
    ours = {"moments": moments, "z_scaled" if frames == 49 else "z": z * (STAGE2_SCALE if frames == 49 else 1)}
    compare("vae", ours, golden, {"x", "noise"}, ONE_PASS)
    mean = golden["moments"].chunk(2, dim=1)[0]
    torch.testing.assert_close(vae.encode(golden["x"]), mean, rtol=0, atol=ONE_PASS * float(mean.abs().max()))


@pytest.mark.parametrize("latent_frames", [1, 2, 5, 13])
def test_decode(vae, latent_frames):
    golden = load_golden("vae", f"dec{latent_frames}.")
    raw = []
    hook = vae.decoder.register_forward_hook(
        lambda module, args, out: raw.append(out.clone())
    )  # clamped in place later
    frames = vae.decode(golden["z"])
    hook.remove()
    ours = {"frames": to_bytes(frames), "raw": torch.cat(raw, dim=2)}
    compare("vae", {name: ours[name] for name in golden if name in ours}, golden, {"z"}, ONE_PASS)


@pytest.mark.parametrize("width", [20, 40])
def test_released_strips(vae, width):
    golden = load_golden("vae", f"memdec{width}.")
    widths = []
    hook = vae.decoder.register_forward_hook(lambda module, args, out: widths.append(args[0].shape[-1]))
    frames = decode_released_strips(vae, golden["z"])
    hook.remove()
    ours = {"frames": to_bytes(frames), "tile_widths": torch.tensor(widths).float()}
    compare("vae", ours, golden, {"z"}, ONE_PASS)


def test_every_recorded_group_is_covered():
    cases = {f"enc{n}" for n in (1, 9, 17, 49)} | {f"dec{n}" for n in (1, 2, 5, 13)} | {"memdec20", "memdec40"}
    assert {name.split(".")[0] for name in load_golden("vae")} == cases


def test_groups():
    assert encode_groups(49) == [(0, 17), (17, 33), (33, 49)]
    assert encode_groups(21) == [(0, 17), (17, 21)]
    assert encode_groups(1) == [(0, 1)]
    assert decode_groups(13) == [(0, 3), (3, 5), (5, 7), (7, 9), (9, 11), (11, 13)]
    assert decode_groups(6) == [(0, 2), (2, 4), (4, 6)]
    assert decode_groups(1) == [(0, 1)]


def encode(vae, frames: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """The sample with the recorded draws, one for each group, and the moments of all groups."""
    sizes = [(stop - start + 3) // 4 for start, stop in encode_groups(frames.shape[2])]
    draws, moments = iter(noise.split(sizes, dim=2)), []
    hook = vae.encoder.register_forward_hook(lambda module, args, out: moments.append(out))
    z = vae.encode(frames, draw_noise=lambda mean: next(draws))
    hook.remove()
    assert next(draws, None) is None
    return z, torch.cat(moments, dim=2)


def to_bytes(frames: Tensor) -> Tensor:
    """[1, 3, F, H, W] in -1..1 -> the recorded [F, H, W, 3] in 0..255, not rounded."""
    return (frames[0].permute(1, 2, 3, 0) + 1) * 127.5
