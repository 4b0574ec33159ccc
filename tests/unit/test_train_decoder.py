"""`train decoder`: how the small decoder begins and learns, and the one that is embedded."""

import json
from dataclasses import replace

import pytest
import torch
from support.cli_run import run

from flashvideo_core.checkpoint import load_small_decoder, load_vae, open_weights
from flashvideo_core.components import TINY
from flashvideo_core.small_decoder import SmallDecoder
from flashvideo_core.tiny import recipe_decoder, train_decoder
from flashvideo_core.tiny.clips import DRAFT_SIZE, render_draft
from flashvideo_core.tiny.evaluate_decoder import FRAMES, format_decoder, score_clip, show_clip
from flashvideo_core.tiny.held_out import sample_held_out
from flashvideo_core.tiny.init import init_small_decoder
from flashvideo_core.tiny.preview import fit_latent_rgb
from flashvideo_core.tiny.scores import render_frames
from flashvideo_core.training.randomness import seed_initialization
from flashvideo_core.weights.reader import file_sha256

VAE_FILE = TINY / "vae.safetensors"


@pytest.fixture(scope="module")
def vae():
    return load_vae(VAE_FILE)


def test_begins_with_the_colours_of_the_latent(vae):
    """A rendered draft, in blocks of a latent pixel, before any step; torch's own start has nothing to do with it."""
    frames = render_draft(0)[None, :, :9]
    z = vae.encode(frames)
    with torch.no_grad(), seed_initialization(0):
        decoder = SmallDecoder(recipe_decoder.DECODER_CONFIG)
        plain = decoder.decode(z)
        begun = init_small_decoder(decoder, fit_latent_rgb(z, frames)).decode(z)
    assert measure_correlation(plain, frames) < 0.2
    assert measure_correlation(begun, frames) > 0.8


def measure_correlation(one, other):
    return float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])


def test_a_short_run_makes_a_file_that_knows_its_vae(tmp_path, capsys, monkeypatch):
    """And a second one finds it there."""
    drafts, patches = (kind for kind, _ in train_decoder.DECODED)
    monkeypatch.setattr(train_decoder, "DECODED", ((drafts, 1), (replace(patches, render=drafts.render), 1)))
    loop = recipe_decoder.LoopConfig(steps=20, lr=1e-3, warmup=1, autocast=False)
    monkeypatch.setattr(recipe_decoder, "DECODER_LOOP", loop)
    monkeypatch.setattr("flashvideo_core.tiny.evaluate_decoder.SIZES", {"draft": (32, 48)})
    words = ("train", "decoder", "--folder", tmp_path, "--clips", "1", "--device", "cpu", "--json")
    code, out, _ = run(capsys, *words)
    assert code == 0
    result = json.loads(out.splitlines()[-1])
    weights = open_weights(tmp_path / "decoder.safetensors")
    assert weights.metadata["vae_sha256"] == file_sha256(VAE_FILE)
    assert weights.config == recipe_decoder.DECODER_CONFIG
    assert result["bytes"] == (tmp_path / "decoder.safetensors").stat().st_size
    assert (tmp_path / "decoder.png").stat().st_size > 1000
    assert result["rows"][0]["size"] == [32, 48] and result["rows"][0]["psnr"] > 12
    before = (tmp_path / "decoder.safetensors").read_bytes()
    assert run(capsys, *words)[0] == 0
    assert (tmp_path / "decoder.safetensors").read_bytes() == before


def test_the_embedded_decoder_shows_what_the_vae_shows(vae):
    """A draft that training never held: PSNR against the whole decoder's picture, in less time."""
    path = TINY / "decoder.safetensors"
    weights = open_weights(path)
    assert path.stat().st_size <= 1_000_000
    assert weights.metadata["vae_sha256"] == file_sha256(VAE_FILE)
    assert {tensor.dtype for tensor in weights.tensors.values()} == {torch.float16}
    original = render_frames(sample_held_out(1, 3)[0].scene, DRAFT_SIZE, FRAMES)
    shown = show_clip(vae, load_small_decoder(path), original)
    scores = score_clip(shown)
    assert scores["psnr"] > MIN_PSNR
    assert scores["seconds_small"] < scores["seconds_whole"]
    row = {"clips": "draft", "size": DRAFT_SIZE, **scores}
    assert f"| draft {DRAFT_SIZE[0]}x{DRAFT_SIZE[1]} | {scores['psnr']:.1f} |" in format_decoder([row])


MIN_PSNR = 24.0  # dB
