"""The VAE apart from the golden values: causality, groups, every frame count, batches, bad input."""

from functools import partial

import pytest
import torch
from support.golden import ONE_PASS, error

from flashvideo_core.config import VAEConfig
from flashvideo_core.vae import VAE, encode_groups
from flashvideo_core.vae_chunks import WHOLE, ChunkSize

SMALL = VAEConfig(channels=8, multipliers=(1, 2, 2, 4), blocks=1, groups=4)


@pytest.fixture(scope="module")
def small():
    """A small VAE with seeded random weights, so that many lengths cost little."""
    torch.manual_seed(0)
    return VAE(SMALL).requires_grad_(False).eval()


def clip(frames: int, batch: int = 1, seed: int = 0, size=(16, 24)):
    return torch.rand(batch, 3, frames, *size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def latent(t: int, batch: int = 1, seed: int = 0, size=(2, 3)):
    return torch.randn(batch, 16, t, *size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("prefix", [17, 33])
def test_encoding_a_prefix_is_the_prefix_of_the_encoding(vae, prefix):
    """Frames that come later cannot change a latent: exactly so at the ends of groups."""
    frames = clip(49)
    whole = vae.encode(frames)
    assert torch.equal(vae.encode(frames[:, :, :prefix]), whole[:, :, : (prefix + 3) // 4])


@pytest.mark.parametrize("prefix", [3, 5, 7])
def test_decoding_a_prefix_is_the_prefix_of_the_decoding(vae, prefix):
    z = latent(9)
    assert torch.equal(vae.decode(z[:, :, :prefix]), vae.decode(z)[:, :, : 4 * prefix - 3])


def test_even_lengths_are_causal_too(small):
    z = latent(6)
    assert torch.equal(small.decode(z[:, :, :4]), small.decode(z)[:, :, :13])


def test_later_groups_see_earlier_ones(small):
    """The cache carries the past over: a second group alone decodes to something else."""
    z = latent(5)
    assert error(small.decode(z[:, :, 3:]), small.decode(z)[:, :, -5:]) > 1e-2


@pytest.mark.parametrize("frames", range(1, 54, 4))
def test_every_frame_count(small, frames):
    """4n+1 frames give n+1 latent frames, odd or even, and back; each group decodes to finite frames."""
    z = small.encode(clip(frames))
    assert z.shape == (1, 16, (frames + 3) // 4, 2, 3)
    back = small.decode(z)
    assert back.shape == (1, 3, frames, 16, 24)
    assert torch.isfinite(back).all()
    assert back.abs().max() <= 1


@pytest.mark.parametrize("t", [2, 4, 6, 8])
def test_even_latent_counts_keep_their_last_frames(small, t):
    """The released code loses the last latent frame; here it decides the last four frames."""
    z = latent(t)
    changed = z.clone()
    changed[:, :, -1] += 1
    before, after = small.decode(z), small.decode(changed)
    assert (before - after).abs().amax(dim=(0, 1, 3, 4))[-4:].min() > 1e-2
    earlier = max(0, 4 * (t - 2) - 3)  # frames of the groups before the last
    assert torch.equal(before[:, :, :earlier], after[:, :, :earlier])


def test_groups_equal_the_whole_where_statistics_are_frozen(small):
    """Convolutions with caches over groups equal one pass; only group norm sees the group. Norms are cut out."""
    plain = VAE(SMALL)
    plain.load_state_dict(small.state_dict())
    plain.requires_grad_(False).encoder.apply(without_norm)
    encode = partial(plain.encoder, chunk_size=ChunkSize(WHOLE))  # norms that are cut out have no statistics of chunks
    frames = clip(33)
    cache, groups = {}, encode_groups(33)
    apart = torch.cat([encode(frames[:, :, a:b], cache) for a, b in groups], dim=2)
    whole = encode(frames, {})
    assert error(apart, whole) < ONE_PASS
    no_cache = torch.cat([encode(frames[:, :, a:b], {}) for a, b in groups], dim=2)
    assert error(no_cache, whole) > 1e-2


def without_norm(module):
    if isinstance(getattr(module, "norm", None), torch.nn.GroupNorm):
        module.norm = Copy()


class Copy(torch.nn.Module):
    """A norm's output is new, and what follows may write into it."""

    def forward(self, x):
        return x.clone()


def test_group_norm_sees_its_group(small):
    """Why groups are part of the released behaviour: another grouping gives another result."""
    frames = clip(33)
    moments = small.encoder(frames, {})
    assert error(moments.chunk(2, dim=1)[0], small.encode(frames)) > 1e-4


def test_a_batch_of_two_equals_two_of_one(small):
    frames, z = clip(9, batch=2), latent(3, batch=2)
    assert error(small.encode(frames), torch.cat([small.encode(f[None]) for f in frames])) < ONE_PASS
    assert error(small.decode(z), torch.cat([small.decode(one[None]) for one in z])) < ONE_PASS


def test_a_second_call_gives_the_same_bits(small):
    """The cache lives for one call: a clip before, or an error in the middle, leaves nothing behind."""
    frames, z = clip(21), latent(5)
    first = small.encode(frames), small.decode(z)
    small.encode(clip(5, seed=1, size=(24, 16)))

    def stop(phase, step, total, preview):
        raise InterruptedError

    for call in (lambda: small.encode(frames, callback=stop), lambda: small.decode(z, callback=stop)):
        with pytest.raises(InterruptedError):
            call()
    assert torch.equal(first[0], small.encode(frames))
    assert torch.equal(first[1], small.decode(z))


def test_callback_counts_groups(small):
    seen = []
    small.encode(clip(49), callback=lambda *args: seen.append(args))
    small.decode(latent(7), callback=lambda *args: seen.append(args), phase="draft_decode")
    assert seen == [("handoff", i, 3, None) for i in (1, 2, 3)] + [("draft_decode", i, 3, None) for i in (1, 2, 3)]


def test_decode_fills_a_given_buffer(small):
    z, out = latent(4), torch.full((1, 3, 13, 16, 24), 7.0)
    assert small.decode(z, out=out) is out
    assert torch.equal(out, small.decode(z))


def test_posterior_sample_is_seeded(small):
    frames = clip(9)

    def draw(seed):
        g = torch.Generator().manual_seed(seed)
        return small.encode(frames, draw_noise=lambda mean: torch.randn(mean.shape, generator=g))

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    assert torch.equal(small.encode(frames, draw_noise=torch.zeros_like), small.encode(frames))


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((1, 3, 4, 16, 16), "4 frames: the frame count must be 4n"),
        ((1, 3, 5, 16, 20), "20x16"),
        ((1, 4, 5, 16, 16), r"\[B, 3, F, H, W\]"),
        ((3, 5, 16, 16), r"\[B, 3, F, H, W\]"),
    ],
)
def test_bad_frames(small, shape, says):
    with pytest.raises(ValueError, match=says):
        small.encode(torch.zeros(shape))
