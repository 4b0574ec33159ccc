"""Names and shapes that do not fit the model: every one is listed."""

import pytest
import torch
from safetensors.torch import save_file
from support.weight_files import STAGE1_PT, STAGE2_PT, VAE_PT, check_refused, read_released, save_released

from flashvideo_core.checkpoint import (
    load_transformer,
    load_vae,
    make_metadata,
)
from flashvideo_core.weights.keys import RELEASED_PREFIX as PREFIX


@pytest.fixture(scope="module")
def released():
    """The tensors of the released files by the file's stem, to be damaged."""
    return {path.stem: read_released(path) for path in (STAGE1_PT, STAGE2_PT, VAE_PT)}


def test_missing_unexpected_and_misshapen_are_all_listed(tmp_path, released):
    broken = dict(released["stage2"])
    del broken[PREFIX + "transformer.layers.1.attention.dense.bias"]
    del broken[PREFIX + "time_embed.2.weight"]
    broken[PREFIX + "transformer.layers.0.surprise.weight"] = torch.zeros(2)
    broken[PREFIX + "transformer.layers.0.input_layernorm.bias"] = torch.zeros(127)
    message = check_refused(load_transformer, save_released(tmp_path, broken))
    for problem in (
        "missing blocks.1.attn_out.bias",
        "missing time_embed.down.weight",
        f"unexpected {PREFIX}transformer.layers.0.surprise.weight",
        f"misshapen {PREFIX}transformer.layers.0.input_layernorm.bias [127] instead of [128]",
    ):
        assert problem in message


def test_a_long_list_is_cut_and_counted(tmp_path, released):
    broken = {name: value for name, value in released["stage2"].items() if ".layers.1.mlp." not in name}
    broken |= {f"{PREFIX}extra.{i}": torch.zeros(1) for i in range(10)}
    check_refused(load_transformer, save_released(tmp_path, broken), "missing blocks.1.mlp_up.weight", "and 6 more")


@pytest.mark.parametrize("gone", ["transformer.layers.0.input_layernorm.weight", "mixins.final_layer.linear.bias"])
def test_any_single_missing_key_is_found(tmp_path, released, gone):
    broken = {name: value for name, value in released["stage1"].items() if name != PREFIX + gone}
    check_refused(load_transformer, save_released(tmp_path, broken), "missing")


def test_each_vae_key_is_needed(tmp_path, released):
    content = released["3d-vae"]
    for gone in list(content)[::20]:
        if not gone.startswith("loss"):
            broken = {name: value for name, value in content.items() if name != gone}
            check_refused(load_vae, save_released(tmp_path, broken, "state_dict"), "miss")
    more = content | {"decoder.up.0.attn.0.q.weight": torch.zeros(1)}
    check_refused(load_vae, save_released(tmp_path, more, "state_dict"), "unexpected decoder.up.0.attn.0.q.weight")
    bent = content | {"encoder.conv_out.conv.bias": torch.zeros(31)}
    check_refused(
        load_vae,
        save_released(tmp_path, bent, "state_dict"),
        "misshapen encoder.conv_out.conv.bias [31] instead of [32]",
    )


QKV = PREFIX + "transformer.layers.0.attention.query_key_value"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"matrix_A.1": None}, "missing a LoRA matrix of transformer.layers.0.attention.query_key_value"),
        ({"matrix_A.2": None, "matrix_B.2": None}, "misshapen LoRA"),
        ({"matrix_B.0": torch.zeros(128, 5)}, "misshapen LoRA"),
        ({"matrix_A.0": torch.zeros(4)}, "misshapen LoRA"),
        ({"original.weight": None}, "missing blocks.0.qkv.weight"),
        ({"weight": torch.zeros(384, 128)}, f"unexpected {QKV}.weight"),
        ({f"matrix_{s}.{k}": None for s in "AB" for k in range(3)}, "missing transformer.layers.0.attention"),
    ],
)
def test_damaged_lora(tmp_path, released, change, says):
    broken = released["stage1"] | {f"{QKV}.{name}": value for name, value in change.items()}
    path = save_released(tmp_path, {name: value for name, value in broken.items() if value is not None})
    check_refused(load_transformer, path, says)


def test_damaged_fp8(tmp_path, stage2):
    path = tmp_path / "ours.safetensors"
    for extra, says in (
        ({"nowhere.weight_scale": torch.ones(())}, "unexpected nowhere.weight_scale"),
        ({"blocks.0.qkv.weight_scale": torch.ones(7)}, "misshapen blocks.0.qkv.weight_scale [7]"),
    ):
        save_file(dict(stage2.state_dict()) | extra, path, make_metadata(stage2.config))
        check_refused(load_transformer, path, says)
