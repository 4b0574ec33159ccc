"""Every operation does what it says, a seed is a result, and nothing changes between the frames but the noise."""

import dataclasses

import numpy as np
import pytest
import torch

from flashvideo_core.training import degradation_ops as ops
from flashvideo_core.training.compression import compress_h264, compress_jpeg, compress_mpeg4, to_uint8
from flashvideo_core.training.contact_sheet import write_contact_sheet
from flashvideo_core.training.degradation import Degradation, degrade

OFF = Degradation(blur_prob=0, resize_prob=0, noise_prob=0, jpeg_prob=0, video_prob=0)
ALWAYS = Degradation(blur_prob=1, resize_prob=1, noise_prob=1, jpeg_prob=1, video_prob=1)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def moving_clip(frames=9, height=64, width=96):
    """A textured disc that moves over a gradient: edges, texture and motion."""
    y, x = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")
    clip = torch.stack([x / width, y / height, 1 - x / width]).repeat(frames, 1, 1, 1) * 0.8 - 0.4
    for f in range(frames):
        disc = (y - height / 2) ** 2 + (x - width / 4 - 3 * f) ** 2 < (height / 4) ** 2
        texture = 0.4 * torch.sin(2.0 * (x - 3 * f)) + 0.2 * torch.sin(1.3 * y)
        clip[f] = torch.where(disc, torch.stack([0.4 + texture, texture - 0.3, texture - 0.3]), clip[f])
    return clip.transpose(0, 1).contiguous().clamp(-1, 1)


def still_clip(frames=5, **size):
    return moving_clip(1, **size).repeat(1, frames, 1, 1)


def sharpness(frames):
    return (frames[..., 1:] - frames[..., :-1]).square().mean().item()


def error(a, b):
    return (a - b).square().mean().sqrt().item()


def test_all_probabilities_zero_is_the_identity():
    clip = moving_clip()
    assert torch.equal(degrade(clip, OFF, seeded()), clip)


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: compress_jpeg(x, 50),
        lambda x: compress_h264(x, 26),
        lambda x: compress_mpeg4(x, 5),
    ],
)
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 96)])
def test_codecs_repeat_whatever_lay_in_memory_before(operation, size):
    clip, noise = moving_clip(9, *size), np.random.default_rng(0)
    first = operation(clip)
    for _ in range(6):
        churn = [noise.bytes(int(n)) for n in noise.integers(1000, 300000, 40)]
        del churn[::2]
        assert torch.equal(operation(clip), first)


def test_same_seed_same_clip_other_seed_another():
    clip = moving_clip()
    first, again, other = (degrade(clip, ALWAYS, seeded(s)) for s in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("size", [(1, 64, 96), (17, 64, 96), (5, 33, 47), (9, 32, 32), (2, 16, 16)])
def test_shape_range_and_input_are_kept(size):
    clip = moving_clip(*size)
    before = clip.clone()
    for seed in range(4):
        out = degrade(clip, ALWAYS, seeded(seed))
        assert out.shape == clip.shape and out.dtype == clip.dtype
        assert out.isfinite().all() and out.min() >= -1 and out.max() <= 1
        assert not torch.equal(out, clip)
    assert torch.equal(clip, before)


def test_order_is_drawn():
    """Blur and resize do not commute: over some seeds the result of either order is seen."""
    fixed = dataclasses.replace(
        OFF, blur_prob=1, resize_prob=1, blur_kinds=(1, 0, 0), blur_sigma=(1.0, 1.0), resize_scale=(0.5, 0.5)
    )
    clip = moving_clip(1)
    kernel = ops.gaussian_kernel(1.0, 1.0, 0.0, 1.0, fixed.blur_radius)
    modes = ("area", "bilinear", "bicubic")
    pairs = [(a, b) for a in modes for b in modes]
    blur_first = [ops.resize_and_back(ops.blur(clip, kernel), 0.5, a, b).clamp(-1, 1) for a, b in pairs]
    resize_first = [ops.blur(ops.resize_and_back(clip, 0.5, a, b).clamp(-1, 1), kernel) for a, b in pairs]
    seen = set()
    for seed in range(12):
        out = degrade(clip, fixed, seeded(seed))
        seen |= {"blur" for x in blur_first if torch.allclose(out, x, atol=1e-5)}
        seen |= {"resize" for x in resize_first if torch.allclose(out, x, atol=1e-5)}
    assert seen == {"blur", "resize"}


@pytest.mark.parametrize(
    "shape", [(1.0, 1.0, 0.0, 1.0), (0.3, 2.0, 0.7, 1.0), (1.5, 0.8, 2.0, 0.5), (2.0, 2.0, 0.0, 4.0)]
)
def test_kernels_are_normalised_and_centred(shape):
    kernel = ops.gaussian_kernel(*shape, radius=5)
    offset = torch.arange(-5.0, 6.0)
    assert kernel.sum().item() == pytest.approx(1, abs=1e-6) and kernel.min() >= 0
    assert (kernel.sum(0) * offset).sum().item() == pytest.approx(0, abs=1e-5)
    assert (kernel.sum(1) * offset).sum().item() == pytest.approx(0, abs=1e-5)


def test_kernel_has_the_variance_and_direction_it_was_asked_for():
    kernel, offset = ops.gaussian_kernel(2.0, 0.8, 0.0, 1.0, radius=9), torch.arange(-9.0, 10.0)
    assert (kernel.sum(0) * offset**2).sum().item() == pytest.approx(4.0, rel=0.01)
    assert (kernel.sum(1) * offset**2).sum().item() == pytest.approx(0.64, rel=0.01)
    turned = ops.gaussian_kernel(2.0, 0.8, torch.pi / 2, 1.0, radius=9)
    assert torch.allclose(turned, kernel.T, atol=1e-6)


def test_blur_keeps_a_constant_and_lowers_high_frequencies_with_sigma():
    constant = torch.full((3, 2, 16, 16), 0.3)
    clip, kernels = moving_clip(), [ops.gaussian_kernel(s, s, 0, 1.0, 5) for s in (0.5, 1.0, 1.5)]
    assert torch.allclose(ops.blur(constant, kernels[2]), constant, atol=1e-6)
    energies = [sharpness(clip)] + [sharpness(ops.blur(clip, k)) for k in kernels]
    assert energies == sorted(energies, reverse=True) and energies[-1] < 0.2 * energies[0]


@pytest.mark.parametrize("mode", ["area", "bilinear", "bicubic"])
def test_resize_loses_detail_but_does_not_move_the_picture(mode):
    clip = moving_clip()
    out = ops.resize_and_back(clip, 0.5, mode, "bilinear")
    assert sharpness(out) < sharpness(clip)
    ramp = torch.linspace(-0.8, 0.8, 96).expand(3, 1, 64, 96)
    assert error(ops.resize_and_back(ramp, 0.5, mode, "bilinear")[..., 8:-8], ramp[..., 8:-8]) < 1e-3
    assert torch.allclose(ops.resize_and_back(clip, 1.0, mode, mode), clip, atol=1e-5)


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("sigma", [2.0, 20.0])
def test_gaussian_noise_has_the_variance_asked_for_and_changes_every_frame(sigma, grey):
    flat = torch.zeros(3, 8, 64, 64)
    noise = ops.add_gaussian_noise(flat, sigma, grey, seeded())
    assert noise.std().item() * 127.5 == pytest.approx(sigma, rel=0.02)
    assert torch.equal(noise[0], noise[1]) is grey
    assert abs(torch.corrcoef(noise[0].flatten(1))[0, 1]) < 0.05


@pytest.mark.parametrize("grey", [False, True])
def test_poisson_noise_grows_with_the_square_root_of_brightness(grey):
    for level in (-0.6, 0.0, 0.6):
        flat = torch.full((3, 8, 64, 64), level)
        noise = ops.add_poisson_noise(flat, 0.5, grey, seeded()) - flat
        photons = (level + 1) * 127.5
        assert noise.std().item() * 127.5 == pytest.approx(0.5 * photons**0.5, rel=0.03)
        assert noise.mean().abs().item() * 127.5 < 0.2
        assert torch.allclose(noise[0], noise[1], atol=1e-6) is grey


@pytest.mark.parametrize(
    "operation, strengths",
    [
        (compress_jpeg, (95, 75, 50, 20)),
        (compress_h264, (15, 23, 30, 40)),
        (compress_mpeg4, (2, 4, 8, 16)),
    ],
)
def test_compression_loses_more_with_more_of_it(operation, strengths):
    clip = moving_clip()
    errors = [error(operation(clip, s), clip) for s in strengths]
    assert errors == sorted(errors) and errors[-1] > 1.5 * errors[0]
    grey = clip.mean(0, keepdim=True).repeat(3, 1, 1, 1)  # without colour the chroma subsampling costs nothing
    assert error(operation(grey, strengths[0]), grey) < 0.05


def test_jpeg_treats_every_frame_alone_and_video_does_not():
    clip = moving_clip()
    alone = torch.cat([compress_jpeg(clip[:, f : f + 1], 40) for f in range(clip.shape[1])], dim=1)
    assert torch.equal(compress_jpeg(clip, 40), alone)
    for video in (compress_h264, compress_mpeg4):
        alone = torch.cat([video(clip[:, f : f + 1], 16) for f in range(clip.shape[1])], dim=1)
        assert not torch.equal(video(clip, 16), alone)


def test_jpeg_quality_means_what_it_means_to_pillow():
    """Our quality scale against libjpeg's: the error lies between those of 15 steps less and 15 steps more."""
    image = pytest.importorskip("PIL.Image")
    import io

    clip = moving_clip(1)
    picture = image.fromarray(to_uint8(clip)[0])

    def pillow(quality):
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality)
        decoded = torch.from_numpy(np.array(image.open(buffer))).permute(2, 0, 1)[:, None] / 127.5 - 1
        return error(decoded, clip)

    for quality in (35, 50, 75):
        assert pillow(quality + 15) < error(compress_jpeg(clip, quality), clip) < pillow(quality - 15)


def test_kernel_and_strength_are_one_for_the_whole_clip():
    """A still clip stays still through everything but the noise and what a video codec does over time."""
    still = dataclasses.replace(ALWAYS, noise_prob=0, video_prob=0)
    for seed in range(4):
        out = degrade(still_clip(), still, seeded(seed))
        assert (out - out[:, :1]).abs().max() < 1e-5
    noisy = degrade(still_clip(), dataclasses.replace(OFF, noise_prob=1), seeded())
    assert not torch.allclose(noisy[:, 0], noisy[:, 1], atol=1e-3)


def test_a_video_codec_keeps_a_still_clip_nearly_still():
    clip = still_clip(9)
    out = compress_h264(clip, 30)
    assert error(out[:, 1:], out[:, :-1]) < 0.5 * error(out, clip)


def test_probabilities_are_frequencies():
    config, clip = dataclasses.replace(OFF, blur_prob=0.3, blur_sigma=(1, 1)), moving_clip(1, 16, 16)
    generator = seeded()
    changed = sum(not torch.equal(degrade(clip, config, generator), clip) for _ in range(400))
    assert 0.3 * 400 - 40 < changed < 0.3 * 400 + 40  # 4 standard deviations


def test_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"\[3, F, h, w\], got \[9, 3, 8, 8\]"):
        degrade(torch.zeros(9, 3, 8, 8), OFF, seeded())


def test_contact_sheet_shows_the_original_above_the_degraded(tmp_path):
    import av

    clip = moving_clip(5, 32, 48)
    pairs = [(clip, degrade(clip, ALWAYS, seeded(s))) for s in range(3)]
    write_contact_sheet(pairs, tmp_path / "sheet.png", columns=2)
    with av.open(str(tmp_path / "sheet.png")) as container:
        sheet = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert sheet.shape == (2 * 2 * 32, 2 * 2 * 48, 3)
    assert np.array_equal(sheet[:32, :48], to_uint8(clip)[0])
    assert np.array_equal(sheet[32:64, 96:144], to_uint8(pairs[1][1])[0])
    with pytest.raises(ValueError, match="one size"):
        write_contact_sheet([(clip, clip[:, :1])], tmp_path / "bad.png")
