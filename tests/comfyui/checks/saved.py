"""What ComfyUI's save nodes write of our models loads again, in the nodes and in the core, with equal results."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import comfy.model_management as mm
import folder_paths
import torch
from safetensors.torch import load_file, save_file

from .setting import SAMPLING, STAGE1, STAGE2, VAE, assert_close, load_stage, pack, raises, refine

METADATA = "flashvideo_metadata"


def tiny(name: str) -> Path:
    return pack("flashvideo_core.components").TINY / f"{name}.safetensors"


@contextlib.contextmanager
def output_folder() -> Iterator[Path]:
    """ComfyUI's output folder, empty and for a while."""
    before = folder_paths.get_output_directory()
    with tempfile.TemporaryDirectory() as folder:
        folder_paths.set_output_directory(folder)
        try:
            yield Path(folder)
        finally:
            folder_paths.set_output_directory(before)


def save(node: str, folder: Path, *parts: object) -> Path:
    """Runs one of core's save nodes and returns the file that it wrote."""
    import comfy_extras.nodes_model_merging as merging

    before = set(folder.rglob("*.safetensors"))
    getattr(merging, node)().save(*parts, filename_prefix=f"saved/{node}")
    (path,) = set(folder.rglob("*.safetensors")) - before
    mm.unload_all_models()
    return path


def check_saved_models_sample_the_same():
    """The released layout and ours, both stages: the config, with its defaults, comes back too."""
    for source in (STAGE1, STAGE2, tiny("stage1"), tiny("stage2")):
        model = load_stage(source)
        with output_folder() as folder:
            path = save("ModelSave", folder, model)
            again = load_stage(path)
            core = pack("flashvideo_core.checkpoint").load_transformer(path)
        config = model.model.diffusion_model.config
        assert again.model.diffusion_model.config == core.config == config
        assert again.model.latent_format.latent_rgb_factors == model.model.latent_format.latent_rgb_factors
        for name, wanted in model.model.diffusion_model.state_dict().items():
            assert torch.equal(again.model.diffusion_model.state_dict()[name], wanted), name
            assert torch.equal(core.state_dict()[name], wanted), name
    again, model = load_again(load_stage(STAGE2)), load_stage(STAGE2)
    assert torch.equal(refine(again), refine(model))


def load_again(model, options=None):
    with output_folder() as folder:
        return load_stage(save("ModelSave", folder, model), *([] if options is None else [options]))


def check_a_baked_lora_and_a_merge():
    from comfy_extras.nodes_model_merging import ModelMergeSimple

    patched = load_stage(STAGE2).clone()
    patched.add_patches({"diffusion_model.blocks.1.mlp_up.weight": ("diff", (torch.full((512, 128), 0.01),))})
    wanted = refine(patched)
    assert not torch.equal(wanted, refine(load_stage(STAGE2)))
    assert_close(refine(load_again(patched)), wanted, SAMPLING)
    merged = ModelMergeSimple().merge(load_stage(STAGE2), patched, 0.5)[0]
    wanted = refine(merged)
    assert_close(refine(load_again(merged)), wanted, SAMPLING)


def check_a_saved_fp8_file():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stage2_fp8.safetensors"
        pack("flashvideo_core.convert").convert(STAGE2, path, "fp8")
        model = load_stage(path, {})
        again = load_again(model, {})
    mm.load_models_gpu([model, again], force_full_load=True)
    one, other = (m.model.diffusion_model.blocks[0].qkv.weight for m in (model, again))
    assert type(other).__name__ == type(one).__name__ == "QuantizedTensor"
    assert torch.equal(one.dequantize(), other.dequantize())


def check_a_saved_vae_and_text_encoder():
    vae, clip = pack("nodes.bridge.vae"), pack("nodes.bridge.clip")
    for source in (VAE, tiny("vae")):
        loaded = vae.load_vae(source)
        with output_folder() as folder:
            path = save("VAESave", folder, loaded)
            again = vae.load_vae(path)
            core = pack("flashvideo_core.checkpoint").load_vae(path)
        assert again.first_stage_model.config == core.config == loaded.first_stage_model.config
        z = torch.randn(1, 16, 2, 4, 6)
        assert torch.equal(again.decode(z), loaded.decode(z))
    words = clip.load_text_clip(tiny("text"))
    with output_folder() as folder:
        again = clip.load_text_clip(save("CLIPSave", folder, words))
    prompt = "a red ball moves left"
    assert torch.equal(clip.encode_text(again, prompt)[0][0], clip.encode_text(words, prompt)[0][0])


def check_a_checkpoint_of_all_parts():
    vae, clip, core = pack("nodes.bridge.vae"), pack("nodes.bridge.clip"), pack("flashvideo_core.checkpoint")
    model, words = load_stage(tiny("stage2")), clip.load_text_clip(tiny("text"))
    with output_folder() as folder:
        path = save("CheckpointSave", folder, model, words, vae.load_vae(tiny("vae")))
        again, decoder, encoder = load_stage(path), vae.load_vae(path), clip.load_text_clip(path)
        assert core.load_transformer(path).config == again.model.diffusion_model.config
        assert core.load_text(path)[1] == core.load_text(tiny("text"))[1]
        assert torch.equal(core.load_vae(path).state_dict()["encoder.conv_in.conv.weight"], encoder_conv(decoder))
    assert torch.equal(clip.encode_text(encoder, "a red ball")[0][0], clip.encode_text(words, "a red ball")[0][0])
    for name, wanted in model.model.diffusion_model.state_dict().items():
        assert torch.equal(again.model.diffusion_model.state_dict()[name], wanted), name


def encoder_conv(vae) -> torch.Tensor:
    return vae.first_stage_model.state_dict()["encoder.conv_in.conv.weight"]


def check_files_saved_before_the_metadata_travelled():
    """Sizes are read from our own names; the numbers of a run are those of the released stage."""
    for source in (STAGE1, STAGE2):
        model = load_stage(source)
        with output_folder() as folder:
            path = save("ModelSave", folder, model)
            old = {name: t for name, t in load_file(path).items() if METADATA not in name}
            save_file(old, path)
            assert load_stage(path).model.diffusion_model.config == model.model.diffusion_model.config
    with output_folder() as folder:
        path = save("VAESave", folder, pack("nodes.bridge.vae").load_vae(VAE))
        save_file({name: t for name, t in load_file(path).items() if METADATA not in name}, path)
        assert pack("nodes.bridge.vae").load_vae(path).first_stage_model.config.channels


def check_other_models_are_refused_by_name():
    """Before anything is sampled: another CLIP by its class, an encoder of another width, a T5 of another size."""
    import comfy.sd1_clip
    from comfy.supported_models_base import ClipTarget

    encode = pack("nodes.bridge.clip").encode_text
    other = comfy.sd.CLIP(ClipTarget(comfy.sd1_clip.SD1Tokenizer, comfy.sd1_clip.SD1ClipModel))
    with raises(ValueError, "this CLIP is SD1ClipModel (l); FlashVideo reads T5-XXL"):
        encode(other, "a red ball")
    words, runs = pack("nodes.bridge.clip").load_text_clip(tiny("text")), pack("nodes.bridge.runs")
    settings = pack("flashvideo_core.settings")
    positive = encode(words, "a red ball")
    model = load_stage(STAGE1)
    draft = settings.DraftSettings.from_defaults(model.model.diffusion_model.config.defaults, frames=5, steps=3)
    with raises(ValueError, "width 64, stage 1 needs 32"):
        runs.sample_drafts(model, positive, None, draft, 1)
    refined = settings.RefineSettings.from_defaults(load_stage(STAGE2).model.diffusion_model.config.defaults)
    with raises(ValueError, "width 64, stage 2 needs 32"):
        runs.refine_latents(load_stage(STAGE2), positive, None, torch.zeros(1, 16, 2, 4, 6), refined)
    with raises(ValueError, "this is the stage-2 model; connect the stage-1 model here"):
        runs.sample_drafts(load_stage(STAGE2), positive, None, draft, 1)
    with raises(ValueError, "was not loaded by FlashVideo Load VAE"):
        pack("nodes.bridge.vae_fallback").FallbackVAE(comfy.sd.VAE(sd={}))


def check_a_text_encoder_of_another_size_is_refused():
    load = pack("nodes.bridge.clip").load_text_clip
    query, words = "encoder.block.0.layer.0.SelfAttention.q.weight", "shared.weight"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "encoder.safetensors"
        for tensors, says in (
            ({query: torch.zeros(8, 768)}, "is a T5 of width 768, not the 4096 of T5-XXL"),
            ({query: torch.zeros(8, 4096), words: torch.zeros(256384, 1)}, "a T5 with 256384 words"),
            ({"text_model.embeddings.position_ids": torch.zeros(1)}, "holds no T5 text encoder"),
        ):
            save_file(tensors, path)
            with raises(ValueError, says):
                load(path)
    with raises(ValueError, "holds no T5 text encoder"):
        load(STAGE1)
