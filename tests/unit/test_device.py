"""Device and dtype of a run, and what a model leaves behind on a card: with a pretended one, CUDA being absent."""

from contextlib import nullcontext

import pytest
import torch
from support.pretended_allocator import PretendedAllocator, PretendedModel

from flashvideo_core.cli.options import ComponentOptions, parse_options
from flashvideo_core.cli.parser import build_parser
from flashvideo_core.cli.train_stage import find_for_training
from flashvideo_core.config import STAGE2
from flashvideo_core.config import VAE as RELEASED
from flashvideo_core.device import on_device, pick_dtype
from flashvideo_core.memory import free_memory, plan_branches, plan_vae_split
from flashvideo_core.training.device import is_bf16_fast

CUDA, GB = torch.device("cuda"), 1 << 30
CLIP = (49, 1072, 1920)


@pytest.fixture
def card(monkeypatch):
    return PretendedAllocator(monkeypatch, 24 * GB)


def test_cached_blocks_count_as_free(card):
    """They are what the next tensor is made of; the driver alone counts them as taken."""
    assert free_memory(CUDA) == 24 * GB
    for name, size in (("latent", GB), ("work", 9 * GB)):
        card.allocate(name, size)
    card.free("work")
    assert torch.cuda.mem_get_info(CUDA)[0] == 14 * GB
    assert free_memory(CUDA) == 23 * GB


def run_phase(card, weights, work):
    with on_device(PretendedModel(card, weights), CUDA):
        free = free_memory(CUDA)
        for i, size in enumerate(work):
            card.allocate(f"work {i}", size)
        for i in range(len(work)):
            card.free(f"work {i}")
    return free


def plan_clip(card):
    """The plans that a clip is made with, in the order of phases.py, and the work between them."""
    splits = [
        plan_vae_split(RELEASED, kind, CLIP, torch.bfloat16, CUDA, free_memory(CUDA)) for kind in ("encode", "decode")
    ]
    free = run_phase(card, 4 * GB, [3 * GB, 5 * GB, 2 * GB])
    branches = plan_branches(STAGE2, (13, 134, 240), 2, free)
    run_phase(card, GB, [GB // 2] * 30)
    return splits, branches


def test_the_second_clip_of_a_batch_is_planned_as_the_first(card):
    first = plan_clip(card)
    assert (card.used, card.cached) == ({}, [])
    assert [plan_clip(card), plan_clip(card)] == [first, first]


def test_a_model_leaves_the_card_with_its_cache_when_its_phase_fails(card):
    with pytest.raises(torch.OutOfMemoryError):
        run_phase(card, 4 * GB, [21 * GB])
    assert "weights" not in card.used and card.cached == []


@pytest.mark.parametrize(("native", "dtype"), [(True, torch.bfloat16), (False, torch.float16)])
def test_bf16_only_where_the_card_computes_it(monkeypatch, native, dtype):
    """A card that would emulate it says yes unless it is asked without emulation."""
    monkeypatch.setattr(torch.cuda, "device", nullcontext)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native)
    assert pick_dtype(CUDA) is dtype
    assert pick_dtype(torch.device("cpu")) is pick_dtype(torch.device("mps")) is torch.float32
    assert is_bf16_fast("cuda") is native and not is_bf16_fast("mps")


def test_a_stage_is_trained_in_float32_where_bf16_is_emulated(monkeypatch):
    """Unless a dtype is named; a run there would be in fp16."""
    monkeypatch.setattr("flashvideo_core.cli.components.pick_dtype", lambda device: torch.float16)
    parser = build_parser()
    for words, dtype in (([], torch.float32), (["--dtype", "fp16"], torch.float16)):
        options = parse_options(ComponentOptions, parser.parse_args(["train", "stage1", *words]))
        assert find_for_training(options, ("stage1",), lambda text: None).dtype is dtype
