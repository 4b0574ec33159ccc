"""Our VAE on ComfyUI's nodes, in diffusers' names, and in tiles when memory is short."""

import tempfile
from pathlib import Path

import comfy.sd
import torch
from safetensors.torch import save_file

from .setting import ONE_PASS, VAE, assert_close, collect_warnings, pack, raises, recorded


def check_vae_on_core_nodes():
    import nodes

    golden = recorded("vae")
    with collect_warnings() as warnings:
        vae = pack("nodes.bridge.vae").load_vae(VAE)
    assert not warnings, warnings
    assert isinstance(vae, comfy.sd.VAE)
    for name in ("dec1", "dec5", "dec13", "dec2"):
        frames = nodes.VAEDecode().decode(vae, {"samples": golden[f"{name}.z"]})[0]
        assert_close(frames * 255, golden[f"{name}.frames"], ONE_PASS)
    for name in ("enc1", "enc9", "enc17", "enc49"):
        frames = (golden[f"{name}.x"][0].permute(1, 2, 3, 0) + 1) / 2
        assert_close(nodes.VAEEncode().encode(vae, frames)[0]["samples"], golden[f"{name}.moments"][:, :16], ONE_PASS)
    trimmed = nodes.VAEEncode().encode(vae, torch.rand(11, 32, 48, 3))[0]["samples"]
    assert trimmed.shape == (1, 16, 3, 4, 6)
    z = golden["dec5.z"].repeat(1, 1, 1, 4, 3)
    tiled = nodes.VAEDecodeTiled().decode(vae, {"samples": z}, 96, 32)[0]
    assert tiled.shape == (17, 128, 144, 3)
    assert nodes.VAEEncodeTiled().encode(vae, tiled, 96, 32)[0]["samples"].shape == z.shape


def check_diffusers_vae_file():
    """The released golden VAE renamed to diffusers' keys, which is what ComfyUI's CogVideoX files hold."""
    released = torch.load(VAE, map_location="cpu", weights_only=True)["state_dict"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cogvideox_vae.safetensors"
        save_file({diffusers_name(k): v for k, v in released.items() if not k.startswith("loss")}, path)
        theirs = pack("nodes.bridge.vae").load_vae(path)
    golden = recorded("vae")
    assert_close(theirs.decode(golden["dec5.z"])[0] * 255, golden["dec5.frames"], ONE_PASS)


def diffusers_name(name: str) -> str:
    parts = name.split(".")
    if parts[1] == "mid":
        parts[1:3] = ["mid_block", "resnets", str(int(parts[2][-1]) - 1)]
    elif parts[1] in ("down", "up") and parts[3] == "block":
        level = int(parts[2]) if parts[1] == "down" else 3 - int(parts[2])
        parts[1:5] = [f"{parts[1]}_blocks", str(level), "resnets", parts[4]]
    elif parts[1] in ("down", "up"):
        level = int(parts[2]) if parts[1] == "down" else 3 - int(parts[2])
        parts[1:4] = [f"{parts[1]}_blocks", str(level), f"{parts[3]}rs", "0"]
    return ".".join(parts).replace("nin_shortcut", "conv_shortcut")


def check_decode_node_steps_down():
    """A pass that fails for want of memory is tried again frame by frame, then in smaller tiles whose blend covers the
    picture."""
    vae, fallback = pack("nodes.bridge.vae").load_vae(VAE), pack("nodes.bridge.vae_fallback")
    z, sizes = torch.randn(1, 16, 1, 24, 40), []
    whole = fallback.FallbackVAE(vae).decode(z)
    real = vae.first_stage_model.decoder.forward

    def limited(x, cache, first, last, chunk_size):
        sizes.append((*x.shape[-2:], chunk_size.pixels))
        if x.shape[-2] * x.shape[-1] > 20 * 20:
            raise torch.OutOfMemoryError("a card of this test's size")
        return real(x, cache, first, last, chunk_size)

    vae.first_stage_model.decoder.forward = limited
    frames = fallback.FallbackVAE(vae, "off").decode(z)
    assert frames.shape == whole.shape
    assert sizes[:2] == [(24, 40, None), (24, 40, 8 * 24 * 8 * 40)]
    assert sizes[-1] == (16, 20, None), sizes
    with raises(ValueError, "tiling"):
        fallback.FallbackVAE(vae, "huge")
    with raises(ValueError, "FlashVideo Load VAE"):
        fallback.FallbackVAE(object())


def check_tiled_handoff_reports_both_phases():
    """Tiles of every pass count as one phase each, from above 0 to the end."""
    vae = pack("nodes.bridge.vae_fallback").FallbackVAE(pack("nodes.bridge.vae").load_vae(VAE), "small")
    z, seen = torch.randn(1, 16, 1, 34, 8), {}

    def callback(phase, step, total, preview):
        seen.setdefault(phase, []).append((step, total))

    out = pack("flashvideo_core.handoff").prepare_reference(z, vae, size=(288, 64), callback=callback)
    assert out.shape == (1, 16, 1, 36, 8)
    assert seen == {"draft_decode": [(1, 2), (2, 2)], "handoff": [(1, 2), (2, 2)]}, seen


def check_frames_go_through_the_vae_some_at_a_time():
    """As a whole clip does for the hand-off and Decode, bit for bit: in one piece, and in tiles."""
    passes, handoff = pack("flashvideo_core.vae_passes"), pack("flashvideo_core.handoff")
    vae, steps = pack("nodes.bridge.vae").load_vae(VAE), []
    for tiling, split, count, size in (("off", None, 22, (16, 16)), ("small", (32, 32), 2, (272, 16))):
        frames = torch.rand(count, 16, 16, 3, generator=torch.Generator().manual_seed(1))
        fallback = pack("nodes.bridge.vae_fallback").FallbackVAE(vae, tiling)
        callback = lambda phase, step, total, preview: steps.append((phase, step, total))  # noqa: E731
        z = fallback.encode_frames(frames, size, callback)
        assert torch.equal(z, handoff.prepare_reference(vae=fallback, size=size, frames=passes.to_model_range(frames)))
        whole = passes.to_image_range(fallback.decode(z))
        assert torch.equal(torch.cat(list(fallback.stream_decode(z, split, 0, callback))), whole)
        assert steps[-1][0] == "decode" and steps[-1][1] == steps[-1][2]
