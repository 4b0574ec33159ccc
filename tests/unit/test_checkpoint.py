"""Reading weights: what loads, and the one line that everything unusable gets."""

import json
import pickle
import struct
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from support.golden import CHECKPOINTS

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
from flashvideo_core.config import STAGE1, STAGE2, TextConfig, VAEConfig, to_json
from flashvideo_core.text import WordEncoder
from flashvideo_core.weights.keys import RELEASED_PREFIX as PREFIX
from flashvideo_core.weights.reader import file_sha256

STAGE1_PT, STAGE2_PT, VAE_PT = (CHECKPOINTS / name for name in ("stage1.pt", "stage2.pt", "3d-vae.pt"))


@pytest.fixture(scope="module")
def tensors():
    """The released layout of each file as a plain dict, to be damaged."""
    return {
        path.stem: next(iter(torch.load(path, weights_only=True).values())) for path in (STAGE1_PT, STAGE2_PT, VAE_PT)
    }


def saved(folder, content: dict, outer: str = "module"):
    path = folder / "weights.pt"
    torch.save({outer: content}, path)
    return path


def refused(call, path, *words: str) -> str:
    """The message: one readable line that names the file and contains the words."""
    with pytest.raises(ValueError) as caught:
        call(path)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 1000
    assert str(path) in message
    for word in words:
        assert word in message, message
    return message


# what loads


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


def test_every_tensor_of_a_released_file_is_consumed_once(tensors):
    """All but what is skipped by name stands in exactly one source."""
    skipped = {"stage1": 3, "stage2": 1, "3d-vae": 2}  # two freqs and position_embeddings; that one; two loss entries
    for path in (STAGE1_PT, STAGE2_PT, VAE_PT):
        weights = open_weights(path)
        used = []
        for source in match_tensors(weights, build_meta_model(weights)).values():
            used += [source.weight, *(name for pair in source.lora for name in pair)]
        assert len(used) == len(set(used))
        left = tensors[path.stem].keys() - set(used)
        assert len(left) == skipped[path.stem]
        for name in left:
            assert name.startswith("loss") or "freqs_" in name or "position_embeddings" in name


def test_plain_weights_load_where_lora_was_merged_before(tmp_path, tensors, stage1):
    """The released loader takes both layouts: X.original.weight with matrices, or X.weight."""
    weights = open_weights(STAGE1_PT)
    merged = {}
    for source in match_tensors(weights, build_meta_model(weights)).values():
        merged[source.weight.replace(".original.", ".")] = read_tensor(weights, source)
    merged["conditioner.embedders.0.transformer.shared.weight"] = torch.zeros(3)  # other modules are left alone
    merged["first_stage_model.encoder.conv_in.conv.weight"] = torch.zeros(3)
    plain = load_transformer(saved(tmp_path, merged))
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
    refused(load_vae, path, "holds a WordEncoder, where a VAE is needed")
    save_file(model.state_dict(), path, make_metadata(config))
    refused(load_text, path, "lists 0 words for a text encoder of 3")


# names and shapes that do not fit: every one is listed


def test_missing_unexpected_and_misshapen_are_all_listed(tmp_path, tensors):
    broken = dict(tensors["stage2"])
    del broken[PREFIX + "transformer.layers.1.attention.dense.bias"]
    del broken[PREFIX + "time_embed.2.weight"]
    broken[PREFIX + "transformer.layers.0.surprise.weight"] = torch.zeros(2)
    broken[PREFIX + "transformer.layers.0.input_layernorm.bias"] = torch.zeros(127)
    message = refused(load_transformer, saved(tmp_path, broken))
    for problem in (
        "missing blocks.1.attn_out.bias",
        "missing time_embed.down.weight",
        f"unexpected {PREFIX}transformer.layers.0.surprise.weight",
        f"misshapen {PREFIX}transformer.layers.0.input_layernorm.bias [127] instead of [128]",
    ):
        assert problem in message


def test_a_long_list_is_cut_and_counted(tmp_path, tensors):
    broken = {name: value for name, value in tensors["stage2"].items() if ".layers.1.mlp." not in name}
    broken |= {f"{PREFIX}extra.{i}": torch.zeros(1) for i in range(10)}
    refused(load_transformer, saved(tmp_path, broken), "missing blocks.1.mlp_up.weight", "and 6 more")


@pytest.mark.parametrize("gone", ["transformer.layers.0.input_layernorm.weight", "mixins.final_layer.linear.bias"])
def test_any_single_missing_key_is_found(tmp_path, tensors, gone):
    broken = {name: value for name, value in tensors["stage1"].items() if name != PREFIX + gone}
    refused(load_transformer, saved(tmp_path, broken), "missing")


def test_each_vae_key_is_needed(tmp_path, tensors):
    content = tensors["3d-vae"]
    for gone in list(content)[::20]:
        if not gone.startswith("loss"):
            broken = {name: value for name, value in content.items() if name != gone}
            refused(load_vae, saved(tmp_path, broken, "state_dict"), "miss")
    more = content | {"decoder.up.0.attn.0.q.weight": torch.zeros(1)}
    refused(load_vae, saved(tmp_path, more, "state_dict"), "unexpected decoder.up.0.attn.0.q.weight")
    bent = content | {"encoder.conv_out.conv.bias": torch.zeros(31)}
    refused(load_vae, saved(tmp_path, bent, "state_dict"), "misshapen encoder.conv_out.conv.bias [31] instead of [32]")


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
def test_damaged_lora(tmp_path, tensors, change, says):
    broken = tensors["stage1"] | {f"{QKV}.{name}": value for name, value in change.items()}
    path = saved(tmp_path, {name: value for name, value in broken.items() if value is not None})
    refused(load_transformer, path, says)


def test_damaged_fp8(tmp_path, stage2):
    path = tmp_path / "ours.safetensors"
    for extra, says in (
        ({"nowhere.weight_scale": torch.ones(())}, "unexpected nowhere.weight_scale"),
        ({"blocks.0.qkv.weight_scale": torch.ones(7)}, "misshapen blocks.0.qkv.weight_scale [7]"),
    ):
        save_file(dict(stage2.state_dict()) | extra, path, make_metadata(stage2.config))
        refused(load_transformer, path, says)


# files that are not weights, or not these


def test_the_wrong_kind_of_weights():
    refused(load_vae, STAGE1_PT, "holds a Transformer, where a VAE is needed")
    refused(load_transformer, VAE_PT, "holds a VAE, where a Transformer is needed")


def test_another_models_weights(tmp_path):
    path = tmp_path / "sd15.safetensors"
    save_file({"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(4, 4, 3, 3)}, path)
    refused(load_transformer, path, "mixins.patch_embed.proj.weight")
    save_file({"transformer_blocks.0.attn1.to_q.weight": torch.zeros(4, 4)}, path)
    refused(load_transformer, path, "holds no FlashVideo transformer and no CogVideoX VAE")
    image_vae = {"encoder.down.0.block.0.conv1.weight": torch.zeros(8, 8, 3, 3), "quant_conv.bias": torch.zeros(8)}
    save_file(image_vae, path)
    refused(load_vae, path, "holds no FlashVideo transformer and no CogVideoX VAE")
    save_file({}, path)
    refused(load_vae, path, "0 other tensors")


@pytest.mark.parametrize("shape", [(), (7, 16, 2, 2), (0, 16, 2, 2)])
def test_impossible_sizes(tmp_path, tensors, shape):
    broken = tensors["stage2"] | {PREFIX + "mixins.patch_embed.proj.weight": torch.zeros(shape)}
    refused(load_transformer, saved(tmp_path, broken))
    broken = tensors["3d-vae"] | {"encoder.conv_in.conv.weight": torch.zeros(shape)}
    refused(load_vae, saved(tmp_path, broken, "state_dict"))


def test_impossible_config(tmp_path, stage2):
    path = tmp_path / "ours.safetensors"
    for change in ({"layers": "two"}, {"hidden": -64}, {"kind": "vae"}, {"time_dim": None}):
        config = json.dumps(json.loads(to_json(stage2.config)) | change)
        save_file(stage2.state_dict(), path, {"config": config})
        refused(load_transformer, path)


@pytest.mark.parametrize("part", [0.0001, 0.3, 0.999])
@pytest.mark.parametrize("name", ["released", "ours"])
def test_a_truncated_file(tmp_path, name, part, stage2):
    whole, path = STAGE2_PT, tmp_path / "cut"
    if name == "ours":
        whole = tmp_path / "whole.safetensors"
        save_file(stage2.state_dict(), whole, make_metadata(stage2.config))
    data = whole.read_bytes()
    path.write_bytes(data[: max(9, int(len(data) * part))])
    refused(load_transformer, path, "cut off or damaged")


def test_no_file_no_weights(tmp_path):
    refused(load_vae, tmp_path / "nowhere.pt", "does not exist")
    refused(load_vae, tmp_path, "is not a file")
    path = tmp_path / "file"
    for content, says in (
        (b"", "is empty"),
        (b"x", "neither safetensors nor a torch checkpoint"),
        (b"# notes on the model\nmore of them\n", "neither safetensors nor a torch checkpoint"),
        (b"GGUF\x03\x00\x00\x00{}", "cut off or damaged"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "neither safetensors nor a torch checkpoint"),
        (pickle.dumps({"a": 1}), "bare pickle"),
    ):
        path.write_bytes(content)
        refused(load_vae, path, says)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<text/>")
    refused(load_vae, path, "cut off or damaged")


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [1000], "data_offsets": [0, 4000]}},  # more data than there is
        {"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 8]}},  # shape and length disagree
        {"a": {"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}},  # a hole before it
        {"a": 7},
    ],
)
def test_a_safetensors_with_a_lying_header(tmp_path, header):
    text = json.dumps(header).encode()
    path = tmp_path / "lying.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    refused(load_vae, path, "cut off or damaged")
    path.write_bytes(struct.pack("<Q", 2**62) + text + bytes(8))  # a header longer than the file
    refused(load_vae, path, "cut off or damaged")


class Payload:
    """Unpickling this would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_code_in_a_pickle_is_refused_and_never_runs(tmp_path, tensors):
    proof = tmp_path / "it ran"
    for content in (Payload(proof), {"module": Payload(proof)}, {"module": tensors["stage1"] | {"x": Payload(proof)}}):
        path = tmp_path / "evil.pt"
        torch.save(content, path)
        refused(load_transformer, path, "carries code or objects", "never executed")
        path.write_bytes(pickle.dumps(content))
        refused(load_transformer, path, "bare pickle")
        torch.save(content, path, _use_new_zipfile_serialization=False)
        refused(load_transformer, path, "bare pickle")
        assert not proof.exists()
    torch.save(Payload(proof), tmp_path / "evil.pt")
    torch.load(tmp_path / "evil.pt", weights_only=False).close()
    assert proof.exists()  # the payload does work: the loader's refusal is what kept it from running


def test_objects_are_refused(tmp_path):
    path = tmp_path / "module.pt"
    torch.save(torch.nn.Linear(2, 2), path)
    refused(load_vae, path, "carries code or objects (torch.nn")
    for content in ([torch.zeros(2)], torch.zeros(2), {"module": {1: torch.zeros(2)}}):
        torch.save(content, path)
        refused(load_vae, path, "not a table of named tensors")
    torch.save({"module": {PREFIX + "step": 7}}, path)
    refused(load_vae, path, f"holds {PREFIX}step as a int, not a tensor")


def test_sha256(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert file_sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_golden_files_are_the_recorded_ones():
    assert file_sha256(STAGE1_PT) == "c348921bc6aab66423efe811d95a4b467cf3d5a34287c4d28031ba59ca74c348"
    assert file_sha256(STAGE2_PT) == "ca613df5ff722426c3bb384b26813557b8d7c7bc9ed33d5fc3939fac711a3057"
    assert file_sha256(VAE_PT) == "7266c5586af367c3876f6887657059e1c63bc454aea8ede2f7d4ece98bcd2c7c"
