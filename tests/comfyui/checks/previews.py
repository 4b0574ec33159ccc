"""Previews while sampling, and that a run leaves nothing behind."""

import json

import torch

from .setting import STAGE1, STAGE2, VAE, conditioning, load_stage, pack


def check_preview_factors():
    """A previewer draws a picture of the latent's size; both stages show the same latent alike."""
    import latent_preview

    pictures = []
    for path, scale in ((STAGE1, 0.7), (STAGE2, 1.15258426)):
        model, z = load_stage(path), torch.linspace(-1, 1, 16).view(1, 16, 1, 1, 1).expand(1, 16, 2, 6, 8)
        previewer = latent_preview.Latent2RGBPreviewer(model.model.latent_format.latent_rgb_factors)
        pictures.append(previewer.decode_latent_to_preview(scale * z))
        assert pictures[-1].size == (8, 6)
    assert pictures[0].tobytes() == pictures[1].tobytes()


def check_preview_factors_of_the_file():
    """A file's own factors: pictures of latents in VAE units, whatever the stage's scale."""
    import latent_preview

    preview, config = pack("nodes.bridge.preview"), pack("flashvideo_core.config").STAGE2
    rows = torch.randn(17, 3) / 8
    latent = preview.StageLatent(config, {"latent_rgb": json.dumps(rows.tolist())})
    z = torch.randn(1, 16, 2, 6, 8)
    previewer = latent_preview.Latent2RGBPreviewer(latent.latent_rgb_factors, latent.latent_rgb_factors_bias)
    picture = previewer.decode_latent_to_preview(latent.process_in(z))
    wanted = torch.einsum("chw,cr->hwr", z[0, :, 0], rows[:16]) + rows[16]
    found = torch.tensor(list(picture.getdata())).view(6, 8, 3) / 127.5 - 1
    assert (found - wanted.clamp(-1, 1)).abs().max() < 0.01


def check_embedded_preview_shows_the_colours():
    """The preview of a rendered clip's latent has the colours of its first frame, in small."""
    import latent_preview
    import numpy

    tiny, sample_scene = pack("flashvideo_core.components").TINY, pack("flashvideo_core.tiny.scene").sample_scene
    render = pack("flashvideo_core.tiny.render").render
    vae = pack("flashvideo_core.checkpoint").load_vae(tiny / "vae.safetensors")
    latent = load_stage(tiny / "stage1.safetensors").model.latent_format
    previewer = latent_preview.Latent2RGBPreviewer(latent.latent_rgb_factors, latent.latent_rgb_factors_bias)
    shown, wanted = [], []
    for seed in range(6):
        frames = render(sample_scene(numpy.random.default_rng(seed)), height=64, width=96)[None, :, :5]
        picture = previewer.decode_latent_to_preview(latent.process_in(vae.encode(frames)))
        shown.append(torch.tensor(list(picture.getdata())).float().flatten())
        wanted.append(torch.nn.functional.avg_pool2d(frames[0, :, 0], 8).permute(1, 2, 0).flatten())
    assert float(torch.corrcoef(torch.stack([torch.cat(shown), torch.cat(wanted)]))[0, 1]) > 0.9


def check_packs_that_replace_the_previewer_take_part():
    """Video Helper Suite's way: latent_preview.get_previewer is replaced while the server runs."""
    import latent_preview

    class Spy(latent_preview.LatentPreviewer):
        def __init__(self):
            self.shapes = []

        def decode_latent_to_preview_image(self, preview_format, x0):
            self.shapes.append(tuple(x0.shape))

    spy, real, runs = Spy(), latent_preview.get_previewer, pack("nodes.bridge.runs")
    latent_preview.get_previewer = lambda device, latent_format: spy
    size = {"frames": 5, "height": 32, "width": 48}
    settings = pack("flashvideo_core.settings").DraftSettings(steps=3, cfg=8.0, guidance="released", **size)
    runs.sample_drafts(load_stage(STAGE1), conditioning(torch.randn(1, 10, 32)), None, settings, drafts=2)
    latent_preview.get_previewer = real
    assert spy.shapes == [(1, 16, 2, 4, 6)] * 6


def check_runs_leave_no_tensor_behind():
    import gc

    stages, handoff, decode = pack("nodes.stages"), pack("nodes.handoff"), pack("nodes.decode")
    txt, vae = torch.randn(1, 10, 32), pack("nodes.bridge.vae").load_vae(VAE)
    one, two = load_stage(STAGE1), load_stage(STAGE2)

    def run(seed: int) -> int:
        size = {"preset": "custom", "width": 32, "height": 32, "frames": 5, "drafts": 1}
        settings = {"seed": seed, "steps": 2, "cfg": 8.0, "guidance": "released", **size}
        z = stages.FlashVideoStage1.execute(one, conditioning(txt), **settings)[0]
        z = handoff.FlashVideoHandoff.execute(vae, "4x the draft", 0, 0, latent=z)[0]
        settings = {"seed": seed, "steps": 2, "cfg": 13.0, "shift": 2.5, "noise_step": 675}
        z = stages.FlashVideoStage2.execute(two, conditioning(txt), z, **settings)[0]
        decode.FlashVideoDecode.execute(vae, z, "auto", "auto", 8.0)
        del z
        gc.collect()
        return sum(isinstance(item, torch.Tensor) for item in gc.get_objects())

    counts = [run(seed) for seed in range(5)]
    assert counts[1] == counts[-1], counts
