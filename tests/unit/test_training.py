"""The training loop and the recipes of the embedded model, on a few steps."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from flashvideo_core.checkpoint import load_text, load_transformer, load_vae
from flashvideo_core.tiny import latents
from flashvideo_core.tiny import recipe as tiny
from flashvideo_core.tiny.init import init_vae, whiten
from flashvideo_core.tiny.train import export, plot_losses
from flashvideo_core.training.loop import LoopConfig, fit, learning_rate, read_log, step_generator
from flashvideo_core.training.losses import drop_text
from flashvideo_core.vae import VAE

LOOP = LoopConfig(steps=12, lr=0.05, warmup=2, save_every=4, autocast=False)


class Killed(Exception):
    pass


def toy(loop=LOOP, folder=None, kill_at=None):
    """Fits a linear map to a known one; optionally dies in the middle of a step."""
    torch.manual_seed(0)
    model, truth = nn.Linear(4, 3), torch.arange(12.0).view(3, 4) / 12

    def loss(generator):
        x = torch.randn(32, 4, generator=generator)
        return (model(x) - x @ truth.T).square().mean()

    def on_step(step, _):
        if step == kill_at:
            raise Killed

    return model, fit(model, loss, loop, folder, on_step)


def test_a_known_map_is_recovered(tmp_path):
    model, _ = toy(replace(LOOP, steps=300), tmp_path)
    torch.testing.assert_close(model.weight.data, torch.arange(12.0).view(3, 4) / 12, atol=0.01, rtol=0)


@pytest.mark.parametrize("kill_at", [0, 3, 5, 9])
def test_a_killed_run_resumes_bit_for_bit(tmp_path, kill_at):
    model, ema = toy(folder=tmp_path / "whole")
    with pytest.raises(Killed):
        toy(folder=tmp_path / "killed", kill_at=kill_at)
    again, ema_again = toy(folder=tmp_path / "killed")
    assert torch.equal(model.weight, again.weight)
    assert all(torch.equal(ema[name], ema_again[name]) for name in ema)
    assert read_log(tmp_path / "whole" / "loss.csv") == read_log(tmp_path / "killed" / "loss.csv")


def test_gradients_that_stay_nan_end_the_run(tmp_path):
    """A few such steps are skipped; a run in which nothing is learned any more says so instead of going on."""
    model, bad = nn.Linear(1, 1), set(range(3, 9))
    steps = iter(range(60))
    scale = {True: float("nan"), False: 1.0}
    fit(model, lambda generator: model.weight.sum() * scale[next(steps) in bad], LOOP, tmp_path / "some")
    assert torch.isfinite(model.weight).all()
    loop = replace(LOOP, steps=50)
    with pytest.raises(ValueError, match="20 steps in a row, up to step 19, were not finite"):
        fit(model, lambda generator: model.weight.sum() * float("nan"), loop, tmp_path / "all")
    assert torch.isfinite(model.weight).all()


def test_a_state_of_another_model_is_refused(tmp_path):
    toy(folder=tmp_path)
    with pytest.raises(ValueError, match="belongs to another model"):
        fit(nn.Bilinear(1, 1, 1), lambda generator: None, LOOP, tmp_path)


def test_accumulation_averages_its_micro_batches(tmp_path):
    """Two micro-batches give the gradient of their mean."""
    model = nn.Linear(4, 1, bias=False)
    nn.init.zeros_(model.weight)
    seen = []

    def loss(generator):
        x = torch.randn(8, 4, generator=generator)
        seen.append(x)
        return model(x).sum() / 8

    fit(model, loss, replace(LOOP, steps=1, accumulate=2, clip=1e9, weight_decay=0.0), tmp_path)
    assert not torch.equal(seen[0], seen[1])
    expected = -torch.sign(torch.cat(seen).mean(0)) * learning_rate(LOOP, 0)  # Adam's first step
    torch.testing.assert_close(model.weight[0].detach(), expected, atol=1e-5, rtol=0)


def test_learning_rate_warms_up_and_falls():
    config = LoopConfig(steps=100, lr=1.0, warmup=10)
    rates = [learning_rate(config, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True) and rates[-1] == pytest.approx(0.05, abs=0.01)


def test_text_is_dropped_by_the_item_at_its_rate():
    txt = torch.ones(4000, 2, 3)
    dropped = drop_text(txt, 0.1, step_generator(0, 0))
    kept = dropped.flatten(1).sum(1)
    assert set(kept.tolist()) == {0.0, 6.0}
    assert 0.08 < (kept == 0).float().mean() < 0.12


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Untrained parts, written and read as `train tiny` does, with two cached clips."""
    folder = tmp_path_factory.mktemp("tiny")
    for name, recipe in (("image", tiny.image_recipe()), ("text", tiny.text_recipe())):
        export(folder / f"{name}.safetensors", recipe.model, {})
    vae, (encoder, words) = load_vae(folder / "image.safetensors"), load_text(folder / "text.safetensors")
    assert len(words) == encoder.config.words
    tables = {
        kind: {
            name: torch.stack([clip[name] for clip in clips])
            for clips in [[getattr(latents, f"{kind}_clip")(vae, i) for i in range(2)]]
            for name in clips[0]
        }
        for kind in ("draft", "patch")
    }
    return vae, encoder, tables


def test_every_recipe_learns(parts, tmp_path):
    """Two steps of each part change its weights, and the result is a file that loads."""
    vae, encoder, tables = parts
    recipes = {
        "stage1": tiny.stage1_recipe(encoder, tables["draft"], batch=2),
        "stage2": tiny.stage2_recipe(encoder, tables["patch"], tables["patch"], batch=2),
        "vae": tiny.vae_recipe(vae),
    }
    for part, recipe in recipes.items():
        before = {name: p.detach().clone() for name, p in recipe.model.named_parameters() if p.requires_grad}
        loop = replace(recipe.loop, steps=2, warmup=1, autocast=False)  # bf16 is emulated on some CPUs
        ema = fit(recipe.model, recipe.loss, loop, tmp_path / part)
        assert any(not torch.equal(before[name], p) for name, p in recipe.model.named_parameters() if name in before)
        export(tmp_path / f"{part}.safetensors", recipe.model, ema)
        assert all(loss > 0 for _, loss in read_log(tmp_path / part / "loss.csv"))
    assert load_transformer(tmp_path / "stage2.safetensors").config == recipes["stage2"].model.config
    pytest.importorskip("matplotlib")
    assert plot_losses(tmp_path).stat().st_size > 1000


def test_patches_are_cut_at_the_same_place(parts):
    pairs = torch.arange(2 * 2 * 20 * 24.0).view(2, 2, 1, 1, 20, 24)
    pairs[1] = pairs[0]
    z, z_ref = tiny.random_patches(pairs, tiny.numpy_generator(step_generator(0, 0)))
    assert z.shape[-2:] == (tiny.CROP, tiny.CROP) and torch.equal(z, z_ref)


def test_cached_latents_resume(tmp_path):
    made = []

    def clip(index):
        made.append(index)
        return {"z": torch.full((1,), float(index))}

    latents.build(tmp_path, "draft", clip, count=latents.SHARD)
    latents.build(tmp_path, "draft", clip, count=2 * latents.SHARD)
    assert made == list(range(2 * latents.SHARD))
    table = latents.load(tmp_path, "draft", count=2 * latents.SHARD)
    assert torch.equal(table["z"][:, 0], torch.arange(2.0 * latents.SHARD))


def test_a_shard_that_is_not_full_is_another_file_than_the_full_one(tmp_path):
    clip = lambda index: {"z": torch.full((1,), float(index))}  # noqa: E731
    for count in (3, latents.SHARD + 2):
        latents.build(tmp_path, "draft", clip, count=count)
        assert torch.equal(latents.load(tmp_path, "draft", count=count)["z"][:, 0], torch.arange(float(count)))
    names = {"draft-00000-3.safetensors", "draft-00000.safetensors", "draft-00001-2.safetensors"}
    assert {path.name for path in tmp_path.iterdir()} == names


@pytest.fixture
def clip_and_vae():
    torch.manual_seed(0)
    vae = init_vae(VAE(tiny.VAE_CONFIG)).requires_grad_(False)
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
