"""LoRA: the released layout, a file that others read, and a merge that equals the LoRA on the fly."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.cli_run import run
from support.golden import CHECKPOINTS, ONE_PASS, error, load_golden
from torch import nn

from flashvideo_core.checkpoint import load_transformer, open_weights
from flashvideo_core.config import STAGE1
from flashvideo_core.convert import convert
from flashvideo_core.training.loop import LoopConfig, fit
from flashvideo_core.training.lora import LoRALinear, add_lora, convert_lora, count_lora_parameters
from flashvideo_core.training.losses import stage1_loss
from flashvideo_core.weights.lora import merge_lora
from flashvideo_core.weights.lora_keys import match_our_lora

STAGE1_PT, STAGE2_PT = CHECKPOINTS / "stage1.pt", CHECKPOINTS / "stage2.pt"


def inputs(stage: int) -> tuple:
    torch.manual_seed(5)
    x, txt = torch.randn(1, 16, 2, 4, 6), torch.randn(1, 5, 32)
    return (x, torch.tensor([400.0]), txt, *([650] if stage == 2 else []))


def trained(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def with_random_lora(path, rank=4, alpha=2.0):
    """A stage with a LoRA that does something."""
    torch.manual_seed(1)
    model = add_lora(load_transformer(path), rank, alpha)
    for name, p in trained(model).items():
        if name.endswith("up"):
            nn.init.normal_(p, std=0.1)
    return model


@pytest.mark.parametrize("layer", ["plain", "qkv", "r128"])
def test_on_the_fly_it_is_what_the_released_code_computes(layer):
    """The recorded layers with their recorded matrices: one pair, three pairs for q, k, v, and the released rank."""
    golden = load_golden("lora", f"{layer}.")
    weight, pairs = golden["original.weight"], sum(name.startswith("matrix_A") for name in golden)
    base = nn.Linear(*weight.shape[::-1])
    base.load_state_dict({"weight": weight, "bias": golden["original.bias"]})
    lora = LoRALinear(base, golden["matrix_A.0"].shape[0], 1.0, pairs)  # the released alpha
    with torch.no_grad():
        lora.down.copy_(torch.stack([golden[f"matrix_A.{k}"] for k in range(pairs)]))
        lora.up.copy_(torch.stack([golden[f"matrix_B.{k}"] for k in range(pairs)]))
        assert error(lora(golden["x"]), golden["y_unmerged"]) <= ONE_PASS
    model = nn.Module()
    model.layer = lora
    pairs_read = match_our_lora(convert_lora(model, dict(model.named_parameters()), torch.float32))
    assert [pair.weight for pair in pairs_read] == ["layer.weight"]
    assert error(merge_lora(weight, pairs_read), golden["merged.weight"]) <= ONE_PASS


@pytest.mark.parametrize("path", [STAGE1_PT, STAGE2_PT], ids=lambda path: path.stem)
def test_a_new_lora_changes_nothing_and_only_it_is_trained(path):
    before, model = load_transformer(path), add_lora(load_transformer(path), 4, 2.0)
    with torch.no_grad():
        assert torch.equal(model(*inputs(model.config.stage)), before(*inputs(model.config.stage)))
    layers = {name.rsplit(".", 1)[0] for name in trained(model)}
    assert layers == {f"blocks.{i}.{name}" for i in range(2) for name in ("qkv", "attn_out", "modulation")}
    assert sum(p.numel() for p in trained(model).values()) == count_lora_parameters(model.config, 4)


def test_beside_the_mlps_too_it_still_changes_nothing():
    before, model = load_transformer(STAGE2_PT), add_lora(load_transformer(STAGE2_PT), 4, 2.0, "all")
    with torch.no_grad():
        assert torch.equal(model(*inputs(2)), before(*inputs(2)))
    assert {f"blocks.1.{name}.down" for name in ("mlp_up", "mlp_down", "qkv")} <= trained(model).keys()
    assert sum(p.numel() for p in trained(model).values()) == count_lora_parameters(model.config, 4, "all")
    pairs = match_our_lora(convert_lora(model, trained(model), torch.float32))
    assert {pair.weight for pair in pairs} <= before.state_dict().keys() and len(pairs) == 2 * 5


def test_the_released_lora_has_as_many_parameters():
    """Stage 1 counts 11.807 GB with its LoRA and 11.14 GB merged, in bf16 (docs/released-model.md 4)."""
    assert 2 * count_lora_parameters(STAGE1, 128) / 1e9 == pytest.approx(11.807 - 11.14, abs=0.005)


def test_trained_and_merged_it_is_the_model_that_was_trained(tmp_path):
    """Three steps on golden stage 1, which has a LoRA of its own inside; then `convert --lora`."""
    torch.manual_seed(0)
    model = add_lora(load_transformer(STAGE1_PT), 4, 8.0)
    frozen = {name: p.clone() for name, p in model.named_parameters() if not p.requires_grad}
    z, txt = torch.randn(2, 16, 2, 4, 6), torch.randn(2, 5, 32)
    loop = LoopConfig(steps=3, lr=0.02, warmup=1, autocast=False)
    ema = fit(model, lambda generator: stage1_loss(model, z, txt, generator), loop, tmp_path / "run")
    save_file(convert_lora(model, ema, torch.float32), tmp_path / "lora.safetensors")
    assert all(torch.equal(p, frozen[name]) for name, p in model.named_parameters() if name in frozen)
    summary = convert(STAGE1_PT, tmp_path / "m.safetensors", "float32", lora=tmp_path / "lora.safetensors")
    model.load_state_dict({**model.state_dict(), **ema})
    with torch.no_grad():
        ours, base = (m(*inputs(1)) for m in (model, load_transformer(STAGE1_PT)))
        assert error(load_transformer(tmp_path / "m.safetensors")(*inputs(1)), ours) <= ONE_PASS
    assert error(base, ours) > 0.01
    convert(STAGE1_PT, tmp_path / "plain.safetensors", "float32")
    assert summary["source_sha256"] != open_weights(tmp_path / "plain.safetensors").metadata["source_sha256"]


@pytest.fixture(scope="module")
def lora_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("lora") / "lora.safetensors"
    model = with_random_lora(STAGE2_PT)
    save_file(convert_lora(model, trained(model), torch.float32), path)
    return path


def test_the_command_merges_at_a_strength(tmp_path, capsys, lora_file):
    target = tmp_path / "m.safetensors"
    how = ["--dtype", "float32", "--lora", lora_file, "--lora-strength", "0.5"]
    code, _, err = run(capsys, "convert", STAGE2_PT, target, *how)
    assert code == 0, err
    half = with_random_lora(STAGE2_PT)
    for layer in half.modules():
        if isinstance(layer, LoRALinear):
            layer.alpha /= 2
    with torch.no_grad():
        assert error(load_transformer(target)(*inputs(2)), half(*inputs(2))) <= ONE_PASS


def test_fp8_layers_with_a_lora_are_quantised_anew(tmp_path, lora_file):
    fp8, both, direct = (tmp_path / f"{name}.safetensors" for name in ("fp8", "both", "direct"))
    convert(STAGE2_PT, fp8, "fp8")
    convert(fp8, both, "stored", lora=lora_file)
    convert(fp8, direct, "float32", lora=lora_file)
    name = "blocks.1.qkv.weight"
    assert load_file(both)[name].dtype == torch.float8_e4m3fn
    assert torch.equal(
        load_file(both)["blocks.1.mlp_up.weight"].float(), load_file(fp8)["blocks.1.mlp_up.weight"].float()
    )
    ours, wanted = (load_transformer(path).state_dict()[name] for path in (both, direct))
    scale = load_file(both)["blocks.1.qkv.weight_scale"]
    assert ((ours - wanted).abs() <= wanted.abs() / 16 + scale * 2**-10).all()


def test_diffusers_names_merge_too(tmp_path):
    down, up = torch.randn(4, 128), torch.randn(128, 4)
    path = tmp_path / "d.safetensors"
    name = "transformer.transformer_blocks.1.attn1.to_k"
    save_file({f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}, path)
    convert(STAGE2_PT, tmp_path / "m.safetensors", "float32", lora=path)
    wanted = load_transformer(STAGE2_PT).state_dict()["blocks.1.qkv.weight"].clone()
    wanted[128:256] += up @ down
    torch.testing.assert_close(load_file(tmp_path / "m.safetensors")["blocks.1.qkv.weight"], wanted)


SCALES = {
    "alpha": ({"r": 4, "lora_alpha": 2}, 0.5),
    "rslora": ({"r": 4, "lora_alpha": 4, "use_rslora": True}, 2.0),
    "of this layer": ({"r": 4, "lora_alpha": 4, "alpha_pattern": {"attn1.to_k": 12.0}}, 3.0),
    "of another layer": ({"r": 4, "lora_alpha": 2, "alpha_pattern": {"to_q": 12.0}}, 0.5),
}


@pytest.mark.parametrize("case", SCALES)
def test_diffusers_keeps_alpha_in_the_metadata(tmp_path, case):
    config, scale = SCALES[case]
    metadata = {"lora_adapter_metadata": json.dumps({f"transformer.{key}": value for key, value in config.items()})}
    down, up, name = torch.randn(4, 128), torch.randn(128, 4), "transformer.transformer_blocks.1.attn1.to_k"
    save_file({f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}, tmp_path / "d.safetensors", metadata)
    convert(STAGE2_PT, tmp_path / "m.safetensors", "float32", lora=tmp_path / "d.safetensors")
    wanted = load_transformer(STAGE2_PT).state_dict()["blocks.1.qkv.weight"].clone()
    wanted[128:256] += scale * (up @ down)
    torch.testing.assert_close(load_file(tmp_path / "m.safetensors")["blocks.1.qkv.weight"], wanted)


A, B = "diffusion_model.blocks.0.qkv.lora_A.weight", "diffusion_model.blocks.0.qkv.lora_B.weight"
WRONG = {
    "has no partner": {A: torch.zeros(4, 128)},
    "blocks.0.qkv.weight is [384, 128], its LoRA [384, 4] by [4, 64]": {A: torch.zeros(4, 64), B: torch.zeros(384, 4)},
    "[384, 8] by [4, 128]": {A: torch.zeros(4, 128), B: torch.zeros(384, 8)},
    "the model has no blocks.7.qkv.weight": {
        A.replace("0", "7"): torch.zeros(4, 128),
        B.replace("0", "7"): torch.zeros(384, 4),
    },
    "blocks.0.qkv.weight is no LoRA matrix": {"blocks.0.qkv.weight": torch.zeros(384, 128)},
    "it holds no LoRA matrix": {},
    "blocks.0.qkv: it holds NaN or infinity": {A: torch.full((4, 128), float("nan")), B: torch.zeros(384, 4)},
    "blocks.0.qkv: stored as float8_e4m3fn": {A: torch.zeros(4, 128).to(torch.float8_e4m3fn), B: torch.zeros(384, 4)},
    "blocks.0.qkv: stored as int8": {A: torch.zeros(4, 128, dtype=torch.int8), B: torch.zeros(384, 4)},
    "a LoRA matrix has the shape []; two axes are needed": {A: torch.zeros(4, 128), B: torch.tensor(1.0)},
    "makes it a DoRA, which is not supported": {
        "transformer.transformer_blocks.0.attn1.to_k.lora_A.weight": torch.zeros(4, 128),
        "transformer.transformer_blocks.0.attn1.to_k.lora_B.weight": torch.zeros(128, 4),
        "transformer.transformer_blocks.0.attn1.to_k.lora_magnitude_vector": torch.ones(128),
    },
}


@pytest.mark.parametrize("said", WRONG)
def test_a_file_that_is_no_lora_of_the_stage_is_refused(tmp_path, said):
    path, target = tmp_path / "x.safetensors", tmp_path / "m.safetensors"
    save_file(WRONG[said], path)
    with pytest.raises(ValueError, match="is no LoRA for this stage 2") as refused:
        convert(STAGE2_PT, target, lora=path)
    assert said in str(refused.value) and not target.exists()


def test_bad_numbers_and_other_models_are_refused(tmp_path, lora_file):
    with pytest.raises(ValueError, match="rank is 0; it must be at least 1"):
        add_lora(load_transformer(STAGE2_PT), 0, 1.0)
    with pytest.raises(ValueError, match="alpha is nan; it must be positive"):
        add_lora(load_transformer(STAGE2_PT), 4, float("nan"))
    with pytest.raises(ValueError, match="is no transformer: a LoRA is for one of the two stages"):
        convert(CHECKPOINTS / "3d-vae.pt", tmp_path / "m.safetensors", lora=lora_file)
    with pytest.raises(ValueError, match="strength of the LoRA is inf"):
        convert(STAGE2_PT, tmp_path / "m.safetensors", lora=lora_file, strength=float("inf"))


def test_bf16_weights_take_a_float32_lora(lora_file):
    """As on a GPU: a frozen bf16 base under autocast; the result is near the float32 one."""
    torch.manual_seed(1)
    model = with_random_lora(STAGE2_PT)
    half = with_random_lora(STAGE2_PT)
    for name, module in half.named_modules():
        if not name.endswith(("qkv", "attn_out", "modulation")) and not list(module.children()):
            module.to(torch.bfloat16)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        out = half(*inputs(2))
    with torch.no_grad():
        assert error(out.float(), model(*inputs(2))) < 0.1
    assert all(p.dtype == torch.float32 for p in trained(half).values())
