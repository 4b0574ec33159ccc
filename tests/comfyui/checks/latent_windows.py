"""Latent windows on our MODEL: the core's result, one window as without, the memory of a window."""

from dataclasses import replace
from unittest import mock

import comfy.sampler_helpers
import torch

from .setting import SAMPLING, STAGE2, assert_close, conditioning, load_stage, pack


def make_settings(**windows):
    settings = pack("flashvideo_core.settings")
    return settings.RefineSettings(64, 96, 2, 3.0, 2.5, 675, seed=5, **windows)


def make_inputs(batch=1, frames=5):
    g = torch.Generator().manual_seed(4)
    return torch.randn(batch, 16, frames, 8, 12, generator=g), torch.randn(1, 10, 32, generator=g)


def refine(z_ref, txt, settings):
    return pack("nodes.bridge.runs").refine_latents(load_stage(STAGE2), conditioning(txt), None, z_ref, settings)


BOTH = {"windows": "time+space", "time_window": 3, "time_overlap": 1}
BOTH |= {"space_window_height": 48, "space_window_width": 64, "space_overlap": 16}


def check_latent_windows_equal_the_core():
    phases, components = pack("flashvideo_core.phases"), pack("flashvideo_core.components")
    dit = pack("flashvideo_core.checkpoint").load_transformer(STAGE2)
    (z_ref, txt), pipe = make_inputs(), components.Pipeline(None, dit, None, None)
    settings = make_settings(**BOTH)
    assert_close(refine(z_ref, txt, settings), phases.refine_reference(pipe, dit, z_ref, txt, settings), SAMPLING)


def check_one_latent_window_is_as_without():
    z_ref, txt = make_inputs(frames=3)
    plain = refine(z_ref, txt, make_settings())
    for windows in ("time", "space", "time+space"):
        assert torch.equal(refine(z_ref, txt, make_settings(windows=windows)), plain)


def check_latent_windows_of_a_batch():
    """Item i is the same item made alone, and its noise depends on the seed and the place alone."""
    z_ref, txt = make_inputs(batch=2)
    settings = make_settings(windows="time", time_window=3, time_overlap=1)
    both = refine(z_ref, txt, settings)
    assert_close(both[1:], refine(z_ref[1:], txt, replace(settings, seed=6)), SAMPLING)


def check_latent_windows_take_the_memory_of_one():
    (z_ref, txt), prepare = make_inputs(), comfy.sampler_helpers._prepare_sampling
    with mock.patch("comfy.sampler_helpers._prepare_sampling", side_effect=prepare) as asked:
        refine(z_ref, txt, make_settings(**BOTH))
    assert list(asked.call_args.args[1]) == [1, 16, 3, 6, 8]
