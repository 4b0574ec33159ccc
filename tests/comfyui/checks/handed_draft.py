"""What the hand-off puts beside its latent, and Decode says with it of a refined clip."""

from unittest import mock

import torch

from .setting import VAE, assert_close, pack, raises


def check_the_handoff_hands_on_what_decode_needs_of_the_draft():
    vae = pack("nodes.bridge.vae").load_vae(VAE, dtype=torch.float32)
    decode, handoff = pack("nodes.decode").FlashVideoDecode, pack("nodes.handoff").FlashVideoHandoff
    drafts = torch.randn(2, 16, 2, 4, 6)
    frames = decode.execute(vae, {"samples": drafts}, "auto", "auto", 8.0)[0]
    of_latent = handoff.execute(vae, "4x the draft", 0, 0, latent={"samples": drafts})[0]
    assert of_latent["samples"].shape == (2, 16, 2, 16, 24) and of_latent["flashvideo_draft"].shape == (10, 16, 24, 3)
    of_images = handoff.execute(vae, "4x the draft", 0, 0, images=torch.cat([frames[:5], frames[:2]]))[0]
    assert_close(of_images["flashvideo_draft"], of_latent["flashvideo_draft"][:5], 1e-5)  # 4n+1 of the seven
    assert_close(of_images["samples"], of_latent["samples"][:1], 1e-4)

    def run(latent, *options, draft=None):
        with mock.patch.object(pack("nodes.remarks"), "notify", lambda text, *_: said.append(text)):
            said.clear()
            return decode.execute(vae, latent, "auto", "auto", 8.0, *options, draft=draft)[0], list(said)

    said: list[str] = []
    plain, text = run(of_latent)
    assert text == run(of_latent, draft=frames)[1] and text[0].count("away from the draft by ") == 2
    matched, text = run(of_latent, "low frequencies")
    assert_close(matched, run(of_latent, "low frequencies", draft=frames)[0], 1e-5)
    assert (matched - plain).abs().max() > 0.01
    cut = of_latent | {"samples": of_latent["samples"][:1]}  # by a node that knows nothing of thumbnails
    assert torch.equal(run(cut)[0], plain[:5]) and run(cut)[1] == []
    with raises(ValueError, "match is color, so connect the draft"):
        run(cut, "color")
