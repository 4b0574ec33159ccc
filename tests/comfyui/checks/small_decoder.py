"""A small decoder on ComfyUI's nodes: equal to ComfyUI's own TAEHV, decoding only, and the live preview through it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import save_file

from .setting import SAMPLING, assert_close, collect_warnings, load_stage, pack, raises


@contextmanager
def taecvx() -> Iterator[Path]:
    """A file of ComfyUI's own class with random weights, in models/vae_approx while the check runs."""
    import folder_paths
    from comfy.taesd.taehv import TAEHV

    theirs = TAEHV(16).eval()
    for parameter in theirs.parameters():
        parameter.normal_(0, (1.5 / max(1, parameter[0].numel())) ** 0.5 if parameter.ndim > 1 else 0.1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "taecvx_random.safetensors"
        save_file(theirs.state_dict(), path)
        folder_paths.add_model_folder_path("vae_approx", folder)
        try:
            yield path
        finally:
            folder_paths.folder_names_and_paths["vae_approx"][0].remove(folder)
            folder_paths.filename_list_cache.clear()


@contextmanager
def preview_method(name: str) -> Iterator[None]:
    from comfy.cli_args import LatentPreviewMethod, args

    before, args.preview_method = args.preview_method, LatentPreviewMethod(name)
    try:
        yield
    finally:
        args.preview_method = before


def check_small_decoder_equals_comfyuis_own():
    """ComfyUI knows TAEHV's layout, though not taecvx: the same file through its VAE and through ours."""
    import comfy.sd
    import comfy.utils

    import nodes

    z = torch.randn(1, 16, 3, 4, 6)
    with taecvx() as path:
        with collect_warnings() as warnings:
            ours = pack("nodes.bridge.vae").load_vae(path, dtype=torch.float32)
        assert not warnings, warnings
        theirs = comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(path)), dtype=torch.float32)
    theirs.first_stage_model.show_progress_bar = False
    wanted = nodes.VAEDecode().decode(theirs, {"samples": z})[0].clamp(0, 1)
    frames = nodes.VAEDecode().decode(ours, {"samples": z})[0]
    assert frames.shape == (9, 32, 48, 3)
    assert wanted.std() > 0.05
    assert_close(frames, wanted, SAMPLING)  # of 30 layers, the last enlargements in phases
    exact = theirs.first_stage_model.double().decode(z.double()).clamp(0, 1)
    double = pack("flashvideo_core.small_decoder").SmallDecoder(ours.first_stage_model.config).double()
    double.load_state_dict(ours.first_stage_model.state_dict())
    assert (double(z.double(), {})[:, :, 3:].clamp(0, 1) - exact).abs().max() < 1e-12


def check_small_decoder_decodes_on_every_node_and_encodes_on_none():
    import nodes

    loaders, decode, handoff = pack("nodes.loaders"), pack("nodes.decode"), pack("nodes.handoff")
    z = torch.randn(2, 16, 2, 12, 16)
    with taecvx() as path:
        names = loaders.list_files("vae")
        assert names[-1] == path.name and "tiny (embedded)" in names
        vae = loaders.FlashVideoVAELoader.execute(path.name)[0]
    whole = decode.FlashVideoDecode.execute(vae, {"samples": z}, "auto", "auto", 8.0)[0]
    assert whole.shape == (10, 96, 128, 3)
    assert_close(nodes.VAEDecode().decode(vae, {"samples": z})[0], whole, SAMPLING)
    assert nodes.VAEDecodeTiled().decode(vae, {"samples": z}, 64, 32)[0].shape == whole.shape
    for encode in (
        lambda: nodes.VAEEncode().encode(vae, whole),
        lambda: nodes.VAEEncodeTiled().encode(vae, whole, 64, 32),
        lambda: handoff.FlashVideoHandoff.execute(vae, "4x the draft", 0, 0, latent={"samples": z}),
    ):
        with raises(ValueError, "a small decoder, which cannot encode"):
            encode()


def check_preview_through_the_embedded_decoder():
    """With the method TAESD both stages show the clip itself, of at most ComfyUI's size; else all is as it was."""
    import latent_preview

    tiny, preview = pack("flashvideo_core.components").TINY, pack("nodes.bridge.preview_decoder")
    for name, size in (("stage1", (8, 12)), ("stage2", (32, 96))):
        model, z = load_stage(tiny / f"{name}.safetensors"), torch.randn(1, 16, 2, *size)
        latent_format = model.model.latent_format
        with preview_method("auto"):
            assert preview.make_decoder_previewer(latent_format, model.load_device) is None
            assert show_step(model, z) == [latent_preview.Latent2RGBPreviewer]
        with preview_method("taesd"):
            frames = preview.make_decoder_previewer(latent_format, model.load_device).decode_clip(z)
            assert show_step(model, z) == [preview.DecoderPreviewer]
        assert len(frames) == 5
        assert max(frames[0].size) == min(8 * size[1], latent_preview.MAX_PREVIEW_RESOLUTION)


def show_step(model, z: torch.Tensor) -> list[type]:
    """The previewers by which one evaluation of a sampling is sent to the editor."""
    progress, shown = pack("nodes.bridge.progress"), []
    real, progress.send_animation = progress.send_animation, lambda previewer, _: shown.append(type(previewer))
    try:
        progress.make_sampler_callbacks(model, 1, 2)[0](0, z, z, 2)
    finally:
        progress.send_animation = real
    return shown


def check_preview_finds_taecvx_for_released_stages_alone():
    preview, latent = pack("nodes.bridge.preview_decoder"), pack("nodes.bridge.preview").StageLatent
    config = pack("flashvideo_core.config").STAGE1
    with taecvx() as path, preview_method("taesd"):
        assert preview.find_preview_decoder(latent(config, {})) == path
        rows = str([[0.0] * 3] * 17)
        assert preview.find_preview_decoder(latent(config, {"latent_rgb": rows})) is None
        previewer = preview.make_decoder_previewer(latent(config, {}), torch.device("cpu"))
        frames = pack("nodes.bridge.animation").encode_frames(previewer, torch.randn(1, 16, 13, 2, 2))
        assert len(frames) == 25  # every second of 49
    with preview_method("taesd"), collect_warnings() as warnings:
        assert preview.make_decoder_previewer(latent(config, {}), torch.device("cpu")) is None
    assert "vae_approx" in str(warnings), warnings
