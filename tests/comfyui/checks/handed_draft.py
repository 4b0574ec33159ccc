"""What the hand-off puts beside its latent, and Decode says with it of a refined clip."""

import tempfile
from unittest import mock

import comfy_extras.nodes_post_processing  # noqa: F401 - it and nodes_latent import each other, it has to be first
import torch
from comfy_extras.nodes_latent import LatentBatch, LatentBatchSeedBehavior

import nodes

from .setting import VAE, assert_close, pack, raises


def load_vae():
    return pack("nodes.bridge.vae").load_vae(VAE, dtype=torch.float32)


def hand_off(vae, **source):
    return pack("nodes.handoff").FlashVideoHandoff.execute(vae, "4x the draft", 0, 0, **source)[0]


def decode(vae, latent, *options, draft=None):
    """The images, and what is said under the node."""
    said: list[str] = []
    with mock.patch.object(pack("nodes.remarks"), "notify", lambda text, *_: said.append(text)):
        run = pack("nodes.decode").FlashVideoDecode.execute
        return run(vae, latent, "auto", "auto", 8.0, *options, draft=draft)[0], said


def check_the_handoff_hands_on_what_decode_needs_of_the_draft():
    vae, drafts, handed = load_vae(), torch.randn(2, 16, 2, 2, 4), pack("nodes.handed")
    frames = decode(vae, {"samples": drafts})[0]
    of_latent = hand_off(vae, latent={"samples": drafts})
    thumbnails = handed.find_draft(of_latent)
    assert of_latent["samples"].shape == (2, 16, 2, 8, 16) and thumbnails.shape == (10, 16, 32, 3)
    of_images = hand_off(vae, images=torch.cat([frames[:5], frames[:2]]))  # 4n+1 of the seven
    assert_close(handed.find_draft(of_images), thumbnails[:5], 1e-5)
    assert_close(of_images["samples"], of_latent["samples"][:1], 1e-4)

    plain, text = decode(vae, of_latent)
    assert text == decode(vae, of_latent, draft=frames)[1] and text[0].count("away from the draft by ") == 2
    matched, text = decode(vae, of_latent, "low frequencies")
    assert_close(matched, decode(vae, of_latent, "low frequencies", draft=frames)[0], 1e-5)
    assert (matched - plain).abs().max() > 0.01
    with raises(ValueError, "the latent that is handed off holds NaN"):
        hand_off(vae, latent={"samples": torch.full((1, 16, 2, 4, 6), torch.nan)})


def check_a_handed_draft_goes_with_its_samples_and_with_no_others():
    vae, find_draft = load_vae(), pack("nodes.handed").find_draft
    one, other = (hand_off(vae, images=torch.rand(1, 16, 16, 3)) for _ in range(2))
    masked = nodes.SetLatentNoiseMask().set_mask(one, torch.ones(64, 64))[0]
    refined = pack("nodes.handed").replace_samples(masked, one["samples"] + 1)
    with tempfile.TemporaryDirectory() as folder, mock.patch("folder_paths.get_output_directory", lambda: folder):
        saved = nodes.SaveLatent().save(one)["result"][0]
    behaved = LatentBatchSeedBehavior.execute(one, "fixed")[0]
    for latent in (masked, refined, saved, behaved):
        assert torch.equal(find_draft(latent), find_draft(one))
    both = LatentBatch.execute(one, other)[0]
    second = nodes.LatentFromBatch().frombatch(both, 1, 1)[0]
    larger = nodes.LatentUpscale().upscale(one, "bilinear", 32, 32, "disabled")[0]
    for latent in (both, second, larger, nodes.RepeatLatentBatch().repeat(one, 2)[0], {"samples": one["samples"]}):
        assert find_draft(latent) is None
    frames, said = decode(vae, second)
    assert said == [] and torch.equal(frames, decode(vae, {"samples": other["samples"]})[0])
    with raises(ValueError, "match is color, so connect the draft"):
        decode(vae, second, "color")
