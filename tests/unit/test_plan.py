"""The plan of a training run: counted activations, the arithmetic shown, and a measured speed."""

import re
from dataclasses import replace

import pytest
import torch
from support.cli_run import read_events, run
from support.own_clips import weight_options

from flashvideo_core.attention import attention, rope_rotations
from flashvideo_core.config import STAGE1, STAGE2, SamplingDefaults
from flashvideo_core.dit import Block
from flashvideo_core.training.lora import TARGETS, LoRALinear
from flashvideo_core.training.options import resolve_options
from flashvideo_core.training.plan import ACTIVATION_BYTES, FULL_ACTIVATION_BYTES, count_tokens, plan_cache, plan_memory


@pytest.mark.parametrize("lora", ["released", "all", None])
def test_the_saved_activations_of_a_block_are_counted(lora):
    """What autograd keeps of one block under bf16 autocast, in bytes per token and width, but for the small things."""
    text, (t, h, w), d, rank = 8, (2, 16, 16), 256, 2
    widths = {"layers": 1, "hidden": d, "time_dim": 64, "text_dim": 64, "text_length": text}
    config = replace(STAGE2, **widths, latent_scale=1.0, defaults=SamplingDefaults((64, 64)))
    block = Block(config)
    if lora:
        block.requires_grad_(False).to(torch.bfloat16)
        for name, pairs in TARGETS[lora].items():
            setattr(block, name, LoRALinear(getattr(block, name), rank, 1.0, pairs))
    weights = {p.untyped_storage().data_ptr() for p in block.parameters()}
    tokens, kept = text + t * h * w, {}

    def keep(x):
        storage, copy = x.untyped_storage(), x.ndim == 2 and x.shape[0] in (d, 4 * d)  # of a weight, by autocast
        if storage.data_ptr() not in weights and not copy and x.numel() > tokens * d // 2:
            kept[storage.data_ptr()] = x
        return x

    x = torch.randn(1, tokens, d, dtype=torch.bfloat16, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x), torch.autocast("cpu", dtype=torch.bfloat16):
        block(x, text, torch.randn(1, 64), rope_rotations(t, h, w, text=text), attention)
    counted = sum(x.untyped_storage().nbytes() for x in kept.values()) / (tokens * d)
    assert counted == pytest.approx(
        ACTIVATION_BYTES["cpu"] + (0 if lora == "released" else FULL_ACTIVATION_BYTES), rel=0.05
    )


def test_the_released_stage_2_at_540x960_patches(capsys):
    """Every product is shown and right, and the sum is theirs."""
    code, out, err = run(capsys, "train", "stage2", "--plan", "--curriculum", "patches", "--checkpointing")
    assert code == 0, err
    assert "49x528x960 at most, 25,966 tokens" in out
    total = 0
    for line in out.splitlines():
        if found := re.match(r"  (.{46})([\d,]+(?: x [\d,]+)+) +([\d,.]+) MB", line):
            product = 1
            for factor in found[2].split(" x "):
                product *= int(factor.replace(",", ""))
            assert float(found[3].replace(",", "")) == pytest.approx(product / 1e6, abs=0.06)
            total += product
        elif "memory at the peak" in line:
            shown = float(re.search(r"([\d,.]+) MB", line)[1].replace(",", ""))
            assert shown == pytest.approx(total / 1e6, abs=0.1) and 10_000 < shown < 20_000
    assert "1,696,276,288 x 2" in out  # stage 2 in bf16: 3.39 GB, as its released file has
    assert "speed: not measured" in out


def test_options_for_released_weights_are_the_papers():
    options = resolve_options(STAGE2)
    assert (options.size, options.patch, options.draft_size) == ((1072, 1920), (528, 960), (256, 480))
    assert (options.frames, options.fps, options.curriculum, options.rank) == (49, 8, "paper", 128)
    assert count_tokens(STAGE2, options) == 104_520 + 226
    assert resolve_options(STAGE1).variants == 0 and count_tokens(STAGE1, resolve_options(STAGE1)) == 6_240 + 226


def test_what_costs_memory():
    def total(config=STAGE2, **how):
        return sum(part.bytes for part in plan_memory(config, resolve_options(config, **how), 2))

    few = {"curriculum": "patches"}
    assert total(**few, checkpointing=True) < total(**few) / 2 < total() / 4
    assert total(**few, rank=16) < total(**few) < total(**few, mode="full")
    assert total(**few, batch=2) > total(**few)
    options = resolve_options(STAGE2)
    more = replace(options, variants=options.variants + 1)
    latent = 16 * 13 * 134 * 240 * 2
    assert (
        sum(part.bytes for part in plan_cache(STAGE2, more)) - sum(p.bytes for p in plan_cache(STAGE2, options))
        == latent
    )


def test_named_weights_are_measured(tmp_path, capsys):
    small = ["--size", "32x48", "--frames", "5", "--rank", "2", "--plan"]
    code, out, err = run(capsys, "train", "stage2", *weight_options(tmp_path), *small, "--json")
    assert code == 0, err
    result = read_events(out)[-1]
    assert result["seconds_per_step"] > 0 and any("LoRA of rank 2" in line for line in result["plan"])
