"""Weights that load: released .pt, our safetensors in every dtype, diffusers' VAE, the text encoder."""

import pytest
import torch
from safetensors.torch import save_file
from support.weight_files import STAGE1_PT, STAGE2_PT, VAE_PT, check_refused, read_released, save_released

from flashvideo_core.checkpoint import (
    build_meta_model,
    load_text,
    load_transformer,
    load_vae,
    make_metadata,
    match_tensors,
    open_weights,
    read_tensor,
    stored_dtype,
)
from flashvideo_core.config import STAGE1, STAGE2, TextConfig, VAEConfig
from flashvideo_core.text import WordEncoder


@pytest.fixture(scope="module")
def released():
    """The tensors of the released files by the file's stem, to be damaged."""
    return {path.stem: read_released(path) for path in (STAGE1_PT, STAGE2_PT, VAE_PT)}


def test_the_released_files_are_recognised(stage1, stage2, vae):
    assert (stage1.config.stage, stage1.config.layers, stage1.config.hidden, stage1.config.time_dim) == (1, 2, 128, 64)
    assert (stage2.config.stage, stage2.config.latent_scale, stage2.config.text_dim) == (2, 1.15258426, 32)
    assert stage1.config.defaults == STAGE1.defaults
    assert stage2.config.defaults == STAGE2.defaults
    assert vae.config == VAEConfig(channels=32, blocks=1)


def test_a_loaded_model_is_frozen_and_whole(stage1, stage2, vae):
    for model in (stage1, stage2, vae):
        assert not model.training
        for parameter in model.state_dict().values():
            assert parameter.dtype == torch.float32
            assert parameter.device.type == "cpu"
            assert torch.isfinite(parameter).all()
        assert not any(p.requires_grad for p in model.parameters())


def test_every_tensor_of_a_released_file_is_consumed_once(released):
    """All but what is skipped by name stands in exactly one source."""
    skipped = {"stage1": 3, "stage2": 1, "3d-vae": 2}  # two freqs and position_embeddings; that one; two loss entries
    for path in (STAGE1_PT, STAGE2_PT, VAE_PT):
        weights = open_weights(path)
        used = []
        for source in match_tensors(weights, build_meta_model(weights)).values():
            used += [source.weight, *(name for pair in source.lora for name in pair)]
        assert len(used) == len(set(used))
        left = released[path.stem].keys() - set(used)
        assert len(left) == skipped[path.stem]
        for name in left:
            assert name.startswith("loss") or "freqs_" in name or "position_embeddings" in name


def test_plain_weights_load_where_lora_was_merged_before(tmp_path, released, stage1):
    """The released loader takes both layouts: X.original.weight with matrices, or X.weight."""
    weights = open_weights(STAGE1_PT)
    merged = {}
    for source in match_tensors(weights, build_meta_model(weights)).values():
        merged[source.weight.replace(".original.", ".")] = read_tensor(weights, source)
    merged["conditioner.embedders.0.transformer.shared.weight"] = torch.zeros(3)  # other modules are left alone
    merged["first_stage_model.encoder.conv_in.conv.weight"] = torch.zeros(3)
    plain = load_transformer(save_released(tmp_path, merged))
    for name, value in stage1.state_dict().items():
        assert torch.equal(plain.state_dict()[name], value), name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("path", [STAGE1_PT, STAGE2_PT, VAE_PT], ids=lambda p: p.stem)
def test_dtypes_are_a_cast_of_float32(path, dtype, request):
    load, name = (load_vae, "vae") if path == VAE_PT else (load_transformer, path.stem)
    exact = request.getfixturevalue(name)
    cast = load(path, dtype=dtype)
    assert cast.config == exact.config
    for name, value in cast.state_dict().items():
        assert torch.equal(value, exact.state_dict()[name].to(dtype)), name


def test_stored_dtype_is_that_of_most_weights():
    assert stored_dtype(open_weights(STAGE1_PT)) == torch.bfloat16
    assert stored_dtype(open_weights(VAE_PT)) == torch.float16  # two junk entries are float32


def test_our_safetensors_load_bit_for_bit(tmp_path, stage2, vae):
    for model, load in ((stage2, load_transformer), (vae, load_vae)):
        path = tmp_path / "ours.safetensors"
        save_file(model.state_dict(), path, make_metadata(model.config, "0" * 64))
        again = load(path)
        assert again.config == model.config
        assert again.state_dict().keys() == model.state_dict().keys()
        for name, value in model.state_dict().items():
            assert torch.equal(value, again.state_dict()[name])


def test_fp8_layers_are_dequantised(tmp_path, stage2):
    state, name = dict(stage2.state_dict()), "blocks.0.qkv"
    state[f"{name}.weight"] = (state[f"{name}.weight"] / 0.01).clamp(-448, 448).to(torch.float8_e4m3fn)
    state[f"{name}.weight_scale"] = torch.tensor(0.01)
    state[f"{name}.comfy_quant"] = torch.tensor(list(b'{"format": "float8_e4m3fn"}'), dtype=torch.uint8)
    path = tmp_path / "fp8.safetensors"
    save_file(state, path, make_metadata(stage2.config))
    loaded = load_transformer(path).state_dict()
    assert torch.equal(loaded[f"{name}.weight"], state[f"{name}.weight"].float() * 0.01)


def test_diffusers_vae_keys(tmp_path, vae):
    """Our VAE written under diffusers' names loads as itself (test_diffusers.py checks the names themselves)."""
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    save_file({diffusers_name(name): value for name, value in vae.state_dict().items()}, path)
    weights = open_weights(path)
    assert weights.origin == "diffusers"
    assert weights.config == vae.config
    for name, value in load_vae(path).state_dict().items():
        assert torch.equal(value, vae.state_dict()[name])


def diffusers_name(name: str) -> str:
    """Our VAE name -> diffusers'."""
    parts = name.split(".")
    side, kind, end = parts[0], parts[-1], []
    if parts[1] == "levels":
        head = [side, "down_blocks" if side == "encoder" else "up_blocks", parts[2]]
        if parts[3] == "resample":
            return ".".join([*head, "downsamplers.0" if side == "encoder" else "upsamplers.0", "conv", kind])
        head, end = [*head, "resnets", parts[4]], parts[5:-1]
    elif parts[1] == "mid":
        head, end = [side, "mid_block", "resnets", parts[2]], parts[3:-1]
    else:
        head, end = [side], parts[1:-1]
    words = {"skip": ["conv_shortcut"], "scale": ["conv_y", "conv"], "bias": ["conv_b", "conv"]}
    words["norm"] = ["norm_layer"] if side == "decoder" else []
    return ".".join([*head, *(word for part in end for word in words.get(part, [part])), kind])


def test_text_encoder_and_its_words(tmp_path):
    config, words = TextConfig(words=3, width=32, layers=1), "a red ball"
    model, path = WordEncoder(config), tmp_path / "text.safetensors"
    save_file(model.state_dict(), path, make_metadata(config) | {"words": words})
    loaded, found = load_text(path)
    assert found == words.split()
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    check_refused(load_vae, path, "holds a WordEncoder, where a VAE is needed")
    save_file(model.state_dict(), path, make_metadata(config))
    check_refused(load_text, path, "lists 0 words for a text encoder of 3")
