"""A noise_mask in FlashVideo Stage 2: what KSampler makes of it, for every shape that ComfyUI's nodes give it."""

import comfy.sample
import torch

from .setting import SAMPLING, STAGE2, assert_close, conditioning, load_stage, pack

SHAPE = (2, 16, 3, 8, 12)
SETTINGS = {"steps": 4, "cfg": 13.0}


def check_a_mask_means_in_stage_2_what_it_means_in_ksampler():
    g = torch.Generator().manual_seed(2)
    z, txt = torch.randn(SHAPE, generator=g), conditioning(torch.randn(1, 10, 32, generator=g))
    none = conditioning(torch.zeros(1, 10, 32))
    stage2, model = pack("nodes.stages").FlashVideoStage2, load_stage(STAGE2)
    one, frames = torch.rand(1, 1, 64, 96, generator=g), torch.rand(9, 1, 64, 96, generator=g)
    each = torch.rand(2, 1, 3, 8, 12, generator=g)
    for mask in (one, frames, each, one[:, 0]):  # Set Latent Noise Mask's, for each frame, for each item, a MASK
        latent = {"samples": z, "noise_mask": mask}
        ours = stage2.execute(model, txt, latent, 675, shift=2.5, seed=9, **SETTINGS)[0]
        assert ours["noise_mask"] is mask
        for i in range(2):
            own = each[i : i + 1] if mask is each else mask
            args = (model, comfy.sample.prepare_noise(z[i : i + 1], 9 + i), 4, 13.0, "euler", "simple", txt, none)
            theirs = comfy.sample.sample(*args, z[i : i + 1], noise_mask=own, disable_pbar=True, seed=9 + i)
            assert_close(ours["samples"][i : i + 1], theirs, SAMPLING)
    plain = stage2.execute(model, txt, {"samples": z}, 675, shift=2.5, seed=9, **SETTINGS)[0]
    assert float((plain["samples"] - ours["samples"]).abs().max()) > 0.1


def check_a_mask_of_zeros_keeps_the_reference():
    z, txt = torch.randn(SHAPE), conditioning(torch.randn(1, 10, 32))
    latent = {"samples": z, "noise_mask": torch.zeros(1, 1, 64, 96)}
    kept = pack("nodes.stages").FlashVideoStage2.execute(
        load_stage(STAGE2), txt, latent, 675, shift=2.5, seed=9, **SETTINGS
    )[0]
    assert_close(kept["samples"], z, 1e-6)
