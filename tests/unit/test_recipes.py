"""The recipes of the embedded model on a few steps, and what its networks begin with."""

from dataclasses import replace

import pytest
import torch

from flashvideo_core.checkpoint import load_text, load_transformer, load_vae
from flashvideo_core.tiny.init import init_vae, whiten
from flashvideo_core.tiny.latents import encode_draft, encode_patch_pair
from flashvideo_core.tiny.recipe import make_numpy_generator
from flashvideo_core.tiny.recipe_stages import CROP, crop_patches, make_stage1_recipe, make_stage2_recipe
from flashvideo_core.tiny.recipe_text import make_text_recipe
from flashvideo_core.tiny.recipe_vae import VAE_CONFIG, make_image_recipe, make_vae_recipe
from flashvideo_core.tiny.train import export_model, plot_model_losses
from flashvideo_core.training.loop import fit
from flashvideo_core.training.loss_log import read_log
from flashvideo_core.training.randomness import step_generator
from flashvideo_core.vae import VAE


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Untrained parts, written and read as `train tiny` does, with two cached clips."""
    folder = tmp_path_factory.mktemp("tiny")
    for name, recipe in (("image", make_image_recipe()), ("text", make_text_recipe())):
        export_model(folder / f"{name}.safetensors", recipe.model, {})
    vae, (encoder, words) = load_vae(folder / "image.safetensors"), load_text(folder / "text.safetensors")
    assert len(words) == encoder.config.words
    tables = {
        kind: {
            name: torch.stack([clip[name] for clip in clips])
            for clips in [[encode(vae, i) for i in range(2)]]
            for name in clips[0]
        }
        for kind, encode in (("draft", encode_draft), ("patch", encode_patch_pair))
    }
    return vae, encoder, tables


def test_every_recipe_learns(parts, tmp_path):
    """Two steps of each part change its weights, and the result is a file that loads."""
    vae, encoder, tables = parts
    recipes = {
        "stage1": make_stage1_recipe(encoder, tables["draft"], batch_size=2),
        "stage2": make_stage2_recipe(encoder, tables["patch"], tables["patch"], batch_size=2),
        "vae": make_vae_recipe(vae),
    }
    for part, recipe in recipes.items():
        before = {name: p.detach().clone() for name, p in recipe.model.named_parameters() if p.requires_grad}
        loop = replace(recipe.loop, steps=2, warmup=1, autocast=False)  # bf16 is emulated on some CPUs
        ema = fit(recipe.model, recipe.loss, loop, tmp_path / part)
        assert any(not torch.equal(before[name], p) for name, p in recipe.model.named_parameters() if name in before)
        export_model(tmp_path / f"{part}.safetensors", recipe.model, ema)
        assert all(loss > 0 for _, loss in read_log(tmp_path / part / "loss.csv"))
    assert load_transformer(tmp_path / "stage2.safetensors").config == recipes["stage2"].model.config
    pytest.importorskip("matplotlib")
    assert plot_model_losses(tmp_path).stat().st_size > 1000


def test_patches_are_cut_at_the_same_place(parts):
    pairs = torch.arange(2 * 2 * 20 * 24.0).view(2, 2, 1, 1, 20, 24)
    pairs[1] = pairs[0]
    z, z_ref = crop_patches(pairs, make_numpy_generator(step_generator(0, 0)))
    assert z.shape[-2:] == (CROP, CROP) and torch.equal(z, z_ref)


@pytest.fixture
def clip_and_vae():
    torch.manual_seed(0)
    vae = init_vae(VAE(VAE_CONFIG)).requires_grad_(False)
    return torch.rand(2, 3, 5, 32, 48) * 2 - 1, vae


def test_whitened_latents_have_mean_0_and_variance_1(clip_and_vae):
    frames, vae = clip_and_vae
    white = whiten(vae, vae.encode(frames)).encode(frames)
    torch.testing.assert_close(white.mean((0, 2, 3, 4)), torch.zeros(16), atol=1e-4, rtol=0)
    torch.testing.assert_close(white.std((0, 2, 3, 4)), torch.ones(16), atol=1e-4, rtol=0)


def test_whitening_keeps_the_pictures(clip_and_vae):
    """Exactly where only the scale changes; a changed mean touches the border, which is padded with zeros."""
    frames, vae = clip_and_vae
    z = vae.encode(frames)
    before = vae.decode(z)
    whiten(vae, z - z.mean((0, 2, 3, 4), keepdim=True))
    white = vae.encode(frames)
    assert (white - z).abs().max() > 0.1
    torch.testing.assert_close(vae.decode(white), before, atol=1e-4, rtol=0)
