"""Random numbers of training follow from its seed, and the caller's own stay as they were."""

import pytest
import torch
from support.cli_run import STAGE1, STAGE2
from torch import nn

from flashvideo_core.checkpoint import load_transformer, open_weights
from flashvideo_core.tiny.recipe import Recipe
from flashvideo_core.tiny.train import train_model
from flashvideo_core.training.finetune import load_trainable
from flashvideo_core.training.loop import LoopConfig
from flashvideo_core.training.lora import add_lora
from flashvideo_core.training.options import resolve_options
from flashvideo_core.training.prepare import WeightFiles
from flashvideo_core.training.randomness import seed_initialization, step_from_generator, step_generator

CPU = torch.device("cpu")


def test_start_weights_are_those_of_manual_seed_and_the_callers_stream_goes_on():
    torch.manual_seed(7)
    wanted_before, wanted_after = torch.rand(3), torch.rand(3)
    torch.manual_seed(5)
    wanted = nn.Linear(4, 4).weight
    torch.manual_seed(7)
    before = torch.rand(3)
    with seed_initialization(5):
        inside = nn.Linear(4, 4).weight
    after = torch.rand(3)
    assert torch.equal(inside, wanted)
    assert torch.equal(before, wanted_before) and torch.equal(after, wanted_after)


def test_an_error_inside_gives_the_callers_stream_back_too():
    state = torch.get_rng_state()
    with pytest.raises(KeyError), seed_initialization(5):
        torch.rand(3)
        raise KeyError
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_loading_what_is_trained_leaves_the_callers_random_state(mode):
    weights = WeightFiles({"stage1": STAGE1}, {}, CPU, torch.float32)
    options = resolve_options(open_weights(STAGE1).config, mode=mode, rank=2, seed=3)
    state = torch.get_rng_state()
    model = load_trainable(options, weights)
    assert torch.equal(torch.get_rng_state(), state)
    if mode == "lora":
        torch.manual_seed(3)
        wanted = add_lora(load_transformer(STAGE1), 2, 2.0)
        assert all(torch.equal(p, q) for p, q in zip(model.parameters(), wanted.parameters(), strict=True))


def test_training_a_model_leaves_the_callers_random_state(tmp_path):
    def make_recipe():
        model = load_transformer(STAGE2).requires_grad_(True)
        nn.init.normal_(model.head.weight)
        loss = lambda generator: model.head.weight.square().mean() + torch.rand((), generator=generator)  # noqa: E731
        return Recipe(model, loss, LoopConfig(steps=2, lr=0.1, autocast=False))

    state = torch.get_rng_state()
    train_model(tmp_path, "stage2", make_recipe, seed=3)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("seed", [0, 7])
def test_a_generator_knows_its_step(seed):
    for step, micro in ((0, 0), (5, 63), (123_456, 1)):
        generator = step_generator(seed, step, micro)
        torch.randn(100, generator=generator)
        assert step_from_generator(generator) == step


@pytest.mark.parametrize(("seed", "step", "micro"), [(0, 0, 0), (3, 7, 2), (12, 999_999, 63)])
def test_no_two_micro_batches_draw_alike(seed, step, micro):
    generator = step_generator(seed, step, micro)
    drawn = torch.rand(4, generator=generator)
    for other in ((seed + 1, step, micro), (seed, step + 1, micro), (seed, step, micro + 1)):
        assert not torch.equal(torch.rand(4, generator=step_generator(*other)), drawn)
