"""The recipes of the embedded model on a few steps, and what its networks begin with."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from flashvideo_core.checkpoint import load_text, load_transformer, load_vae
from flashvideo_core.tiny.caption_table import CAPTIONS, draw_all_captions, embed_captions
from flashvideo_core.tiny.init import init_vae, whiten
from flashvideo_core.tiny.latents import DRAFTS, PATCH_PAIRS
from flashvideo_core.tiny.pools import choose_crops, join_pool, render_pool
from flashvideo_core.tiny.recipe import make_numpy_generator
from flashvideo_core.tiny.recipe_stages import (
    CROP,
    DRAFT_ERROR,
    choose_captions,
    choose_noise_step,
    crop_patches,
    estimate_distance,
    make_stage1_recipe,
    make_stage2_recipe,
)
from flashvideo_core.tiny.recipe_text import draw_all_examples, make_text_recipe
from flashvideo_core.tiny.recipe_vae import VAE_CONFIG, make_image_recipe, make_vae_recipe
from flashvideo_core.tiny.rendering import render_ahead
from flashvideo_core.tiny.train import export_model, plot_model_losses, train_model
from flashvideo_core.training.loop import fit
from flashvideo_core.training.loss_log import read_log
from flashvideo_core.training.randomness import step_generator
from flashvideo_core.vae import VAE


@pytest.fixture(scope="module")
def pools():
    counts = {"draft": 2, "patch": 2, "whole": 1}
    return {kind: join_pool(render_pool(kind, count)) for kind, count in counts.items()}


@pytest.fixture(scope="module")
def parts(tmp_path_factory, pools):
    """Untrained parts, written and read as `train tiny` does, with two cached clips."""
    folder = tmp_path_factory.mktemp("tiny")
    for name, recipe in (("image", make_image_recipe(pools)), ("text", make_text_recipe(draw_all_examples(count=256)))):
        export_model(folder / f"{name}.safetensors", recipe.model, {})
    vae, (encoder, words) = load_vae(folder / "image.safetensors"), load_text(folder / "text.safetensors")
    assert len(words) == encoder.config.words
    clips = {kind.name: next(render_ahead(kind.render, [range(2)])) for kind in (DRAFTS, PATCH_PAIRS)}
    return vae, encoder, {kind.name: kind.encode(vae, clips[kind.name]) for kind in (DRAFTS, PATCH_PAIRS)}


def test_a_seed_gives_other_weights_and_other_steps(tmp_path):
    def run(name, seed):
        drawn = []

        def make_recipe():
            recipe = make_text_recipe(draw_all_examples(count=256))

            def loss(generator):
                drawn.append(torch.rand((), generator=generator).item())
                return recipe.loss(generator)

            return replace(recipe, loss=loss, loop=replace(recipe.loop, steps=1))

        return drawn, load_file(train_model(tmp_path / name, "text", make_recipe, seed=seed))

    (drawn, weights), (again, same), (others, different) = run("one", 0), run("again", 0), run("other", 1)
    assert drawn == again != others
    assert all(torch.equal(weight, same[name]) for name, weight in weights.items())
    assert not any(torch.equal(weight, different[name]) for name, weight in weights.items() if weight.ndim > 1)


def test_every_recipe_learns(parts, pools, tmp_path):
    """Two steps of each part change its weights, and the result is a file that loads."""
    vae, encoder, tables = parts
    captions = embed_captions(encoder, draw_all_captions(2))
    recipes = {
        "stage1": make_stage1_recipe(captions, tables["draft"], batch_size=2),
        "stage2": make_stage2_recipe(captions, tables["patch"], tables["patch"], batch_size=2),
        "text": make_text_recipe(draw_all_examples(count=256)),
        "vae": make_vae_recipe(vae, pools),
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


def test_captions_belong_to_their_clips(parts):
    """A clip's captions do not depend on how many clips there are, and are of its own scene."""
    _, encoder, _ = parts
    captions = embed_captions(encoder, draw_all_captions(3))
    assert captions.shape == (3, CAPTIONS, encoder.config.slots, encoder.config.width)
    torch.testing.assert_close(embed_captions(encoder, draw_all_captions(2)), captions[:2])
    chosen = choose_captions(captions, torch.tensor([2, 0, 2]), step_generator(0, 0))
    assert all((captions[clip] == one).flatten(1).all(1).any() for clip, one in zip((2, 0, 2), chosen, strict=True))


def test_crops_are_cut_anywhere_in_a_pool():
    pool = torch.arange(2 * 3 * 4 * 6 * 8).remainder(256).to(torch.uint8).view(2, 3, 4, 6, 8)
    crops = choose_crops(pool, (2, 3), 2, 40, step_generator(0, 0))
    assert crops.shape == (40, 3, 2, 2, 3) and crops.min() >= -1 and crops.max() <= 1
    places = pool.unfold(2, 2, 1).unfold(3, 2, 1).unfold(4, 3, 1).permute(0, 2, 3, 4, 1, 5, 6, 7).flatten(0, 3)
    found = [int((places.float() / 127.5 - 1 == crop).flatten(1).all(1).nonzero()[0]) for crop in crops]
    assert len(set(found)) > 30


def test_noise_steps_lie_within_their_bounds_and_small_ones_are_common():
    rng = make_numpy_generator(step_generator(0, 0))
    steps = torch.tensor([choose_noise_step((10, 410), rng) for _ in range(2000)])
    assert steps.min() >= 10 and steps.max() < 410 and 0.45 < float((steps < 110).float().mean()) < 0.55
    assert {choose_noise_step((0, 1), rng) for _ in range(20)} == {0}
    distances = [estimate_distance(step) for step in (0, 100, 500, 999)]
    assert distances == sorted(distances) and abs(distances[-1] - 2 - DRAFT_ERROR) < 1e-6


def test_patches_are_cut_at_the_same_place():
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
