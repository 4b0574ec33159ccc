"""The small decoder: equal to an independent reference, causal, flat in memory; which files are one and which not."""

import pytest
import torch
from safetensors.torch import save_file
from support.taehv_files import decode_taehv, make_taehv
from support.weight_files import STAGE1_PT, VAE_PT, check_refused

from flashvideo_core.checkpoint import load_small_decoder, load_vae, open_weights
from flashvideo_core.config import SmallDecoderConfig, from_json, to_json
from flashvideo_core.convert import convert
from flashvideo_core.small_decoder import SmallDecoder
from flashvideo_core.vae_stream import stream_small_decode

WIDTHS = (16, 12, 8, 6)


def latent(t: int, seed: int = 0, size=(2, 3)):
    return torch.randn(1, 16, t, *size, generator=torch.Generator().manual_seed(seed))


def save(folder, tensors, name="taecvx.safetensors"):
    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / name)
    return folder / name


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A file of few widths in the published layout, and its tensors."""
    tensors = make_taehv(WIDTHS)
    return save(tmp_path_factory.mktemp("taehv"), tensors), tensors


@pytest.mark.parametrize("t", [1, 2, 5])
def test_equals_the_published_layout(published, t):
    """In double precision, where only the layout can differ; and decoded in float32 with the enlargement in phases."""
    path, tensors = published
    z, double = latent(t), {name: value.double() for name, value in tensors.items()}
    wanted = decode_taehv(double, z[0].double())
    assert 0.05 < wanted.std() < 0.5
    with torch.no_grad():
        whole = load_small_decoder(path, dtype=torch.float64)(z.double(), {})[:, :, 3:]
        assert torch.allclose(whole[0].clamp(0, 1), wanted, rtol=0, atol=1e-12)
        frames = load_small_decoder(path).decode(z)
    assert frames.shape == (1, 3, 4 * t - 3, 16, 24)
    assert torch.allclose(frames[0].double(), 2 * wanted - 1, rtol=0, atol=1e-5)


def test_the_published_widths(tmp_path):
    """As a .pt too, as taecvx is published, with half the precision."""
    tensors = {name: value.half() for name, value in make_taehv(seed=1).items()}
    torch.save(tensors, tmp_path / "taecvx.pth")
    decoder, z = load_small_decoder(tmp_path / "taecvx.pth"), latent(2, size=(1, 2))
    assert decoder.config == SmallDecoderConfig(widths=(256, 128, 64, 64))
    assert sum(p.numel() for p in decoder.parameters()) == sum(
        value.numel() for name, value in tensors.items() if name.startswith("decoder.")
    )
    wanted = decode_taehv({name: value.float() for name, value in tensors.items()}, z[0])
    with torch.no_grad():
        assert torch.allclose(decoder.decode(z)[0], 2 * wanted - 1, rtol=0, atol=1e-5)


def test_a_prefix_of_the_latent_gives_a_prefix_of_the_clip(published):
    decoder, z = load_small_decoder(published[0]), latent(6)
    with torch.no_grad():
        whole = decoder.decode(z)
        assert torch.equal(decoder.decode(z[:, :, :4]), whole[:, :, :13])
        assert not torch.allclose(decoder.decode(z[:, :, 2:])[:, :, 4:], whole[:, :, 12:])  # what was before counts


def test_items_of_a_batch_do_not_meet(published):
    decoder, z = load_small_decoder(published[0]), torch.cat([latent(3), latent(3, seed=1)])
    with torch.no_grad():
        assert torch.allclose(decoder.decode(z)[1:], decoder.decode(z[1:]), rtol=0, atol=1e-5)


def test_reports_each_latent_frame(published):
    seen, decoder = [], load_small_decoder(published[0])
    out = torch.empty(1, 3, 9, 16, 24)
    with torch.no_grad():
        assert decoder.decode(latent(3), lambda *step: seen.append(step), "draft_decode", out) is out
    assert seen == [("draft_decode", i, 3, None) for i in (1, 2, 3)]


def test_memory_does_not_grow_with_frames(published):
    """Numbers that are alive at the same time, besides the frames themselves, whatever the length."""
    decoder = load_small_decoder(published[0])

    def largest(t):
        sizes = []
        handles = [
            module.register_forward_hook(lambda _, inputs, output: sizes.append(output.numel()))
            for module in decoder.modules()
            if not list(module.children())
        ]
        with torch.no_grad():
            cache_free = decoder.decode(latent(t))
        for handle in handles:
            handle.remove()
        return max(sizes), cache_free.shape[2]

    assert largest(3) == (largest(12)[0], 9)


def test_our_own_file_is_the_same_decoder(published, tmp_path):
    """What `convert` makes of a taecvx file, and the config that it carries."""
    path, _ = published
    convert(path, tmp_path / "ours.safetensors", dtype="fp16")
    weights = open_weights(tmp_path / "ours.safetensors")
    assert (weights.origin, weights.config) == ("ours", SmallDecoderConfig(widths=WIDTHS))
    assert from_json(to_json(weights.config)) == weights.config
    with torch.no_grad():
        ours, theirs = (load_small_decoder(file).decode(latent(2)) for file in (weights.path, path))
    assert torch.allclose(ours, theirs, rtol=0, atol=0.02)


def test_files_that_are_no_decoder_of_these_latents_are_refused_by_name(published, tmp_path):
    path, tensors = published
    check_refused(load_small_decoder, VAE_PT, "holds a VAE, where a SmallDecoder is needed")
    check_refused(load_small_decoder, STAGE1_PT, "holds a Transformer")
    check_refused(load_vae, path, "holds a SmallDecoder, where a VAE is needed")
    wan = save(tmp_path, make_taehv(WIDTHS, channels=48), "any.safetensors")
    check_refused(load_small_decoder, wan, "latents of 48 channels", "taecvx")
    for name in ("taew2_1.safetensors", "taehv.safetensors", "lighttaew2_1.safetensors"):
        check_refused(load_small_decoder, save(tmp_path, tensors, name), "latents", "taecvx")
    lacking = {name: value for name, value in tensors.items() if name != "decoder.16.conv.2.bias"}
    check_refused(load_small_decoder, save(tmp_path, lacking), "missing levels.2.blocks.1.convs.1.bias")
    more = tensors | {"decoder.23.weight": torch.zeros(1)}
    check_refused(load_small_decoder, save(tmp_path, more), "unexpected decoder.23.weight")
    grown = tensors | {"decoder.7.conv.weight": torch.zeros(32, 16, 1, 1)}
    check_refused(load_small_decoder, save(tmp_path, grown), "misshapen decoder.7.conv.weight")


def test_latents_of_any_size_on_a_network_of_any_dtype():
    decoder = SmallDecoder(SmallDecoderConfig(widths=WIDTHS)).bfloat16()
    with torch.no_grad():
        frames = decoder.decode(latent(1, size=(1, 1)))
    assert frames.shape == (1, 3, 1, 8, 8)
    assert frames.dtype == torch.float32
    assert frames.abs().max() <= 1


def test_going_on_in_the_middle_of_a_clip_gives_the_same_frames(published):
    """As a killed run does: from a span on, with only as many before it as the memory blocks see."""
    decoder, z, steps = load_small_decoder(published[0]), latent(31), []
    with torch.no_grad():
        whole = list(stream_small_decode(decoder, z, None, lambda *step: steps.append(step)))
        rest = list(stream_small_decode(decoder, z, None, lambda *step: None, start=12))
        frames = decoder.decode(z)
    assert [span.shape[2] for span in whole] == [9, *[8] * 14]
    assert steps == [(i, 15) for i in range(1, 16)]
    assert torch.equal(torch.cat(whole, dim=2), frames)
    assert torch.equal(torch.cat(rest, dim=2), torch.cat(whole[12:], dim=2))
