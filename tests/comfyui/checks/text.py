"""Prompts through ComfyUI's T5, text lengths, and files put into the wrong loader."""

import tempfile
from pathlib import Path

import comfy.sd
import torch

from .setting import SAMPLING, STAGE1, STAGE2, VAE, assert_close, conditioning, load_stage, pack, raises


def check_prompt_for_t5():
    """ComfyUI's own T5 classes (one small layer): plain text, the stages' prefixes, 226 tokens with a real end."""
    from comfy.supported_models_base import ClipTarget
    from comfy.text_encoders.cogvideo import CogVideoXTokenizer, cogvideo_te

    sizes = {"d_model": 64, "num_layers": 1, "d_ff": 128, "num_heads": 1, "d_kv": 64}
    clip = comfy.sd.CLIP(ClipTarget(CogVideoXTokenizer, cogvideo_te()), model_options={"t5xxl_model_config": sizes})
    for p in clip.cond_stage_model.parameters():
        torch.nn.init.normal_(p, std=0.1)
    encode, prompt = pack("nodes.bridge.clip").encode_text, "a (red:1.9) ball"
    text = pack("nodes.text").FlashVideoTextEncode.execute
    stage1, stage2, negative = text(clip, prompt, "medium motion", "").args
    assert torch.equal(stage1[0][0], encode(clip, prompt)[0][0])
    assert torch.equal(stage2[0][0], encode(clip, f"medium motion,{prompt}")[0][0])
    assert stage1[0][0].shape == (1, 226, 64) and not negative[0][0].any()
    escaped = clip.encode_from_tokens_scheduled(clip.tokenize("a \\(red:1.9\\) ball"))[0][0]
    assert torch.equal(stage1[0][0], escaped), "brackets were read as a weight"
    assert torch.equal(text(clip, prompt, "none", "blurry")[2][0][0], encode(clip, "blurry")[0][0])
    long = "ball " * 400
    assert encode(clip, long)[0][0].shape == (1, 226, 64)
    tokens = clip.tokenize(long)["t5xxl"][0]
    unread = pack("nodes.bridge.clip").describe_unread
    assert unread(clip, long) == f"the text encoder reads 226 tokens: the last {len(tokens) - 226} are dropped"
    assert unread(clip, prompt) is None
    cut = {"t5xxl": [[*tokens[:225], (1, 1.0)]]}  # 1 ends a sentence
    assert torch.equal(encode(clip, long)[0][0], clip.encode_from_tokens_scheduled(cut)[0][0])


def check_text_of_another_length_is_not_repeated():
    """A negative shorter than the prompt runs as it is; ComfyUI's usual conditioning would repeat its tokens."""
    model, sampling = load_stage(STAGE2), pack("nodes.bridge.sampling")
    txt, short = torch.randn(1, 12, 32), torch.randn(1, 5, 32)
    z, noise = torch.randn(1, 16, 2, 4, 6), torch.randn(1, 16, 2, 4, 6)
    args = (noise, z, sampling.make_sampler(model), sampling.make_sigmas(model, 2))
    guider = sampling.Guider(model, conditioning(txt), conditioning(short), 3.0, "constant")
    ours = guider.sample(*args, disable_pbar=True, seed=0)
    core, schedule = pack("flashvideo_core.sampling"), pack("flashvideo_core.schedule")
    net = pack("flashvideo_core.checkpoint").load_transformer(STAGE2)
    times = schedule.stage2_times(2, 2.5)
    x = schedule.add_noise(1.15258426 * z, noise, schedule.zero_snr_sqrt_alphas()[675])

    def velocity(x, t):
        step = torch.tensor([1000 - 1000 * t])
        c, u = net(x, step, txt, 675), net(x, step, short, 675)
        return u + 3.0 * (c - u)

    assert_close(ours * 1.15258426, core.euler_flow(velocity, x, times), SAMPLING)


def check_wrong_files_in_loaders():
    with raises(ValueError, "VAE"):
        load_stage(VAE)
    with raises(ValueError, "model loader"):
        pack("nodes.bridge.vae").load_vae(STAGE1)


def check_foreign_files_are_named_in_every_loader():
    """What is no file of tensors is called what it is, before ComfyUI's own readers meet it."""
    clip, lora = pack("nodes.bridge.clip"), pack("nodes.bridge.lora")
    loaders = [load_stage, pack("nodes.bridge.vae").load_vae, clip.load_text_clip]
    loaders.append(lambda path: lora.apply_lora(load_stage(STAGE1), path, 1.0))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.safetensors"
        for content, says in (
            (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
            (b"<!doctype html><html>", "a web page"),
            (STAGE1.read_bytes(), "a torch checkpoint with the name of a safetensors file"),
            (STAGE1.read_bytes()[:9000], "its list of contents, is missing"),
        ):
            path.write_bytes(content)
            for load in loaders:
                with raises(ValueError, says):
                    load(path)
