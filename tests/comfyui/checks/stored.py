"""What a stored draft is named by: the same for the same, another one for whatever would make another draft, and none
where the content of something cannot be told. And the folder: what is read again, what goes."""

import functools
import os
import tempfile
from pathlib import Path

import comfy.sd
import torch
from safetensors.torch import save_file

from .setting import FLOAT32, STAGE1, conditioning, load_stage, pack, raises

LAYER = "diffusion_model.blocks.0.qkv"


def fingerprint():
    return pack("nodes.bridge.fingerprint")


def hash_model(model) -> str:
    return fingerprint().hash_model(model, "weights")


def with_lora(model, seed: int = 0, strength: float = 1.0):
    g = torch.Generator().manual_seed(seed)
    pair = {"lora_A": torch.randn(4, 128, generator=g), "lora_B": torch.randn(384, 4, generator=g)}
    lora = {f"{LAYER}.{name}.weight": value for name, value in pair.items()}
    return comfy.sd.load_lora_for_models(model, None, lora, strength, 0.0)[0]


def check_the_same_model_has_one_hash_however_often_it_is_loaded():
    one, other = load_stage(STAGE1), load_stage(STAGE1)
    assert hash_model(one) == hash_model(other) == hash_model(one.clone())
    assert hash_model(with_lora(one)) == hash_model(with_lora(other))


def check_whatever_changes_a_draft_changes_the_hash():
    model, speed = load_stage(STAGE1), pack("nodes.bridge.speed")
    quick = model.clone()
    quick.model_options["transformer_options"][speed.SPEED] = speed.Speed(dense_evaluations=1)
    scaled = model.clone()
    scaled.model_options["transformer_options"]["rope_options"] = {"scale_t": 2.0}
    variants = [model, with_lora(model), with_lora(model, 1), with_lora(model, 0, 0.5), quick, scaled]
    variants += [with_lora(with_lora(model), 1), load_stage(STAGE1, {"dtype": torch.bfloat16})]
    assert len({hash_model(variant) for variant in variants}) == len(variants)
    assert fingerprint().hash_model(model, "other weights") != hash_model(model)


def check_what_cannot_be_told_has_no_hash():
    model, unknown = load_stage(STAGE1), fingerprint().UnknownContentError
    patched, attached, merged, compiled = (model.clone() for _ in range(4))
    patched.set_model_sampler_cfg_function(lambda args: args["cond"])
    attached.set_model_attn1_output_patch(lambda out, options: out)
    merged.add_patches(load_stage(STAGE1).get_key_patches("diffusion_model."), 0.5, 0.5)
    compiled.add_object_patch("diffusion_model", torch.nn.Identity())
    for variant in (patched, attached, merged, compiled):
        with raises(unknown, "does cannot be told"):
            hash_model(variant)


def check_content_is_told_apart_and_order_counts_where_it_means_something():
    hash_content = fingerprint().hash_content
    zeros = torch.zeros(2, 3)
    values = [
        None,
        0,
        0.0,
        False,
        "0",
        b"0",
        [],
        (),
        {},
        [0],
        [[0]],
        {"a": 0},
        {"0": 0},
        {0: 0},
        zeros,
        zeros.T,
        zeros.half(),
    ]
    values += [zeros.double(), torch.zeros(2, 4)[:, :3].contiguous() + 1, ["ab", "c"], ["a", "bc"], torch.float16, {0}]
    values += [conditioning(zeros), [[zeros, {"area": 1}]]]
    assert len({hash_content(value) for value in values}) == len(values)
    assert hash_content({"a": 1, "b": 2}) == hash_content({"b": 2, "a": 1})
    assert hash_content(torch.arange(6).reshape(2, 3).T) == hash_content(torch.arange(6).reshape(2, 3).T.contiguous())
    find_window = pack("nodes.bridge.speed").find_window
    assert hash_content(find_window) == hash_content(find_window) != hash_content(functools.partial(find_window, {}))
    for value in (object(), print, functools.partial(print), torch.nn.Linear(1, 1)):
        with raises(fingerprint().UnknownContentError, "cannot be told"):
            hash_content(value)


def check_weights_that_were_replaced_after_loading_are_not_taken_for_those_loaded():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "stage1.safetensors")
        models = pack("nodes.bridge.models")
        weights = pack("flashvideo_core.checkpoint").open_weights(STAGE1, "transformer")
        state, saved = models.build_state_dict(weights, torch.float32), models.StageConfig(weights).saved_metadata
        save_file({name: value.contiguous() for name, value in (state | saved).items()}, path)
        model = load_stage(path)
        file = fingerprint().find_weights(model)
        known = Path(folder, "known.json")
        stored = pack("nodes.stored")
        first = stored.hash_weights(known, file)
        assert first == stored.hash_weights(known, file) == pack("flashvideo_core.weights.reader").file_sha256(path)
        os.utime(path, ns=(file.changed + 10**9, file.changed + 10**9))
        with raises(fingerprint().UnknownContentError, "has changed since it was loaded"):
            fingerprint().find_weights(model)
        known.write_text("[no table")
        assert stored.hash_weights(known, models.WeightsFile.look_at(path)) == first


def check_the_folder_of_stored_drafts_stays_below_its_limit():
    stored, settings = pack("nodes.stored"), pack("flashvideo_core.settings")
    draft = settings.DraftSettings(5, 32, 48, 4, 8.0, "released")
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{i}.latent") for i in range(4)]
        latent = torch.randn(1, 16, 2, 4, 6)
        for i, path in enumerate(paths[:3]):
            assert stored.write_draft(path, latent + i, draft, 1.0) == []
            os.utime(path, (i, i))
        assert torch.equal(stored.read_draft(paths[0]), latent)  # and is now the last one used
        other = Path(folder, "picture.png")
        other.write_bytes(bytes(10**6))
        three = sum(path.stat().st_size for path in paths[:3]) / 1e9
        assert stored.write_draft(paths[3], latent, draft, three) == []
        assert [path.exists() for path in paths] == [True, False, True, True] and other.exists()
        paths[2].write_bytes(b"damaged")
        assert stored.read_draft(paths[2]) is None
        blocked = Path(folder, "file", "x.latent")
        blocked.parent.write_text("")
        (fault,) = stored.write_draft(blocked, latent, draft, 1.0)
        assert fault.startswith("they cannot be stored: ")


def check_stored_drafts_are_those_that_sampling_gives():
    import folder_paths

    stored, runs, settings = pack("nodes.stored"), pack("nodes.bridge.runs"), pack("flashvideo_core.settings")
    draft = settings.DraftSettings(5, 32, 48, 2, 8.0, "released", seed=2**64 - 1)
    txt = conditioning(torch.randn(1, 10, 32))
    before = folder_paths.get_output_directory()
    with tempfile.TemporaryDirectory() as folder:
        folder_paths.set_output_directory(folder)
        try:
            wanted = runs.sample_drafts(load_stage(STAGE1, FLOAT32), txt, None, draft, 3)
            first = stored.sample_stored(load_stage(STAGE1, FLOAT32), txt, None, draft, 2, 1.0)
            assert first.said == "0 of 2 drafts read from output/FlashVideo/stored, 2 stored there"
            again = stored.sample_stored(load_stage(STAGE1, FLOAT32), txt, None, draft, 3, 1.0)
            assert again.said == "2 of 3 drafts read from output/FlashVideo/stored, 1 stored there"
            assert torch.equal(again.latents, wanted) and torch.equal(first.latents, wanted[:2])
            model = load_stage(STAGE1, FLOAT32)
            model.set_model_sampler_cfg_function(lambda args: args["cond"])
            refused = stored.sample_stored(model, txt, None, draft, 1, 1.0)
            assert refused.said.startswith("nothing is stored or read: what ") and not refused.are_stored
            assert len(list(Path(folder).rglob("*.latent"))) == 3
        finally:
            folder_paths.set_output_directory(before)
