"""The LoRA merge against recorded merges: plain, three partitions (q, k, v), and the released rank of 128."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from support.golden import CHECKPOINTS, ONE_PASS, compare, load_golden

from flashvideo_core.checkpoint import Weights, load_transformer, read_tensor
from flashvideo_core.config import STAGE1
from flashvideo_core.weights.keys import RELEASED_LORA_ALPHA
from flashvideo_core.weights.sources import TensorSource


@pytest.mark.parametrize("layer", ["plain", "qkv", "r128"])
def test_every_recorded_array(layer):
    golden = load_golden("lora", f"{layer}.")
    merged = merge(golden)
    rank = golden["matrix_A.0"].shape[0]
    y = F.linear(golden["x"], merged, golden["original.bias"])
    ours = {
        "merged.weight": merged,
        "merged.bias": golden["original.bias"],  # taken unchanged
        "scaling": torch.tensor([RELEASED_LORA_ALPHA / rank]),
        "y_merged": y,
        "y_unmerged": y,  # the adapter applied on the fly gives the same
    }
    inputs = {name for name in golden if name.startswith(("original", "matrix_"))} | {"x"}
    compare("lora", ours, golden, inputs, ONE_PASS)


def test_every_recorded_layer_is_covered():
    assert {name.split(".")[0] for name in load_golden("lora")} == {"plain", "qkv", "r128"}


def test_bf16_merges_in_float32():
    """bf16 weights and matrices are merged as float32 numbers; only the sum is rounded."""
    golden = {name: value.bfloat16() for name, value in load_golden("lora", "qkv.").items()}
    merged = merge(golden)
    assert merged.dtype == torch.float32
    assert torch.equal(merged, merge({name: value.float() for name, value in golden.items()}))


def test_load_casts_after_the_merge(stage1):
    bf16 = load_transformer(CHECKPOINTS / "stage1.pt", dtype=torch.bfloat16)
    for name, value in stage1.state_dict().items():
        assert torch.equal(bf16.state_dict()[name], value.bfloat16()), name


def merge(golden: dict[str, torch.Tensor]) -> torch.Tensor:
    """The merge of checkpoint.py on the recorded matrices."""
    pairs = sum(name.startswith("matrix_A") for name in golden)
    source = TensorSource("original.weight", lora=tuple((f"matrix_A.{k}", f"matrix_B.{k}") for k in range(pairs)))
    shapes = {name: tuple(value.shape) for name, value in golden.items()}
    assert source.find_misfits(shapes, shapes["original.weight"]) == []
    return read_tensor(Weights(Path("lora"), golden, shapes, {}, "released", STAGE1), source)
