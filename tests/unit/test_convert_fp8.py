"""Converting to fp8: which layers, with what scales, and how near it stays."""

import json

import pytest
import torch
from safetensors.torch import load_file
from support.golden import error
from support.weight_files import STAGE1_PT, VAE_PT

from flashvideo_core.checkpoint import load_transformer
from flashvideo_core.convert import convert, quantise


@pytest.fixture(scope="module")
def fp8(tmp_path_factory):
    target = tmp_path_factory.mktemp("fp8") / "stage1.safetensors"
    convert(STAGE1_PT, target, "fp8")
    return target


def test_fp8_takes_the_weights_of_linear_layers_only(fp8, stage1):
    linear = {name for name, module in stage1.named_modules() if isinstance(module, torch.nn.Linear)}
    written = load_file(fp8)
    for name in stage1.state_dict():
        in_fp8 = name.removesuffix(".weight") in linear
        assert written[name].dtype == (torch.float8_e4m3fn if in_fp8 else torch.bfloat16), name
    extra = {f"{layer}.{kind}" for layer in linear for kind in ("weight_scale", "comfy_quant")}
    assert written.keys() == stage1.state_dict().keys() | extra


def test_fp8_scales_and_tags(fp8, stage1):
    """One float32 scale for each layer, amax / 448, and the tag that ComfyUI reads."""
    written = load_file(fp8)
    for name, value in stage1.state_dict().items():
        layer = name.removesuffix(".weight")
        if f"{layer}.weight_scale" in written and name.endswith(".weight"):
            scale = written[f"{layer}.weight_scale"]
            assert scale.shape == ()
            assert scale.dtype == torch.float32
            assert float(scale) == pytest.approx(float(value.abs().max()) / 448)
            assert float(written[name].float().abs().max()) == 448
            assert json.loads(bytes(written[f"{layer}.comfy_quant"].tolist())) == {"format": "float8_e4m3fn"}


def test_fp8_loads_near_the_original(fp8, stage1):
    """e4m3 keeps three bits behind the leading one: each weight within 1/16, or half the smallest step."""
    loaded = load_transformer(fp8).state_dict()
    scales = load_file(fp8)
    for name, value in stage1.state_dict().items():
        scale = scales.get(f"{name}_scale")
        if scale is None:
            assert torch.equal(loaded[name], value.bfloat16().float())
        else:
            assert ((loaded[name] - value).abs() <= value.abs() / 16 + scale * 2**-10 + 1e-6).all()
    x, txt = torch.randn(1, 16, 2, 4, 6), torch.randn(1, 5, 32)
    difference = error(load_transformer(fp8)(x, torch.tensor([500.0]), txt), stage1(x, torch.tensor([500.0]), txt))
    assert 1e-4 < difference < 0.3


def test_fp8_stays_as_it_is_when_converted_again(tmp_path, fp8):
    again = tmp_path / "again.safetensors"
    for dtype in ("stored", "fp8"):
        convert(fp8, again, dtype)
        written = load_file(again)
        assert written.keys() == load_file(fp8).keys()
        for name, value in load_file(fp8).items():
            assert written[name].dtype == value.dtype
            assert torch.equal(written[name].float(), value.float()), name
    convert(fp8, again, "float32")
    for name, value in load_transformer(fp8).state_dict().items():
        assert torch.equal(load_file(again)[name], value)


def test_quantise_of_zeros_and_extremes():
    weight, scale = quantise(torch.zeros(4, 4))
    assert scale == 1
    assert not weight.float().any()
    weight, scale = quantise(torch.tensor([[-3e30, 1.0], [3e30, 0.0]]))
    assert torch.equal(weight.float(), torch.tensor([[-448.0, 0.0], [448.0, 0.0]]))


def test_fp8_is_for_transformers(tmp_path):
    with pytest.raises(ValueError, match="fp8 is for"):
        convert(VAE_PT, tmp_path / "vae.safetensors", "fp8")
