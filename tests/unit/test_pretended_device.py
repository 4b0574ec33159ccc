"""The whole path on a device that pretends, at released sizes: what is on the wrong device, read, copied, drawn.

On a real card a tensor of another device raises, and each value that is read waits for all that was queued. Networks
have two of their blocks, which are alike.
"""

from collections import Counter
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from support.pretended_device import PretendedDevice

from flashvideo_core import dit
from flashvideo_core.attention import chunked_attention, rope_rotations
from flashvideo_core.components import Pipeline
from flashvideo_core.config import STAGE1, STAGE2
from flashvideo_core.config import VAE as RELEASED
from flashvideo_core.dit import Transformer
from flashvideo_core.fp8 import keep_all_fp8
from flashvideo_core.handoff import prepare_reference
from flashvideo_core.memory import tile_overlap
from flashvideo_core.pipeline import run_draft, run_refine
from flashvideo_core.plans import DraftPlan, RefinePlan
from flashvideo_core.sampling import make_draw_noise, sample_stage1
from flashvideo_core.settings import DraftSettings, RefineSettings
from flashvideo_core.tiling import decode_released_strips, split_axis
from flashvideo_core.vae import VAE

STEPS = 3
FRAME, TILE = 1072 * 1920, (53, 88)  # pixels of a chunk; latent rows and columns


@pytest.fixture
def device():
    if not hasattr(torch.utils.backend_registration, "_setup_privateuseone_for_python_backend"):
        pytest.skip("needs a torch that lets Python pretend a device")
    with PretendedDevice() as device:
        yield device


@pytest.fixture
def pipe(device, monkeypatch):
    """A pipeline whose networks are on the card already, where `on_device` takes them for a phase."""
    for module in ("phases", "vae_passes"):
        monkeypatch.setattr(f"flashvideo_core.{module}.on_device", lambda model, device: nullcontext(model))
    kw = {"device": device.card, "dtype": torch.bfloat16}
    stages = [Transformer(replace(config, layers=2), **kw).requires_grad_(False) for config in (STAGE1, STAGE2)]
    vae = VAE(RELEASED, **kw).requires_grad_(False)
    text = torch.zeros(1, STAGE1.text_length, STAGE1.text_dim)
    pipe = Pipeline(*stages, vae, lambda prompt: text, device=device.card, dtype=torch.bfloat16)
    for count in (device.syncs, device.to_card, device.to_host, device.random, device.host_work):
        count.clear()
    return pipe


def make_clip(pipe, draft_plan, refine_plan, **numbers):
    refine = RefineSettings.from_defaults(pipe.stage2.config.defaults, steps=STEPS)
    return run_refine(pipe, make_draft(pipe, draft_plan, **numbers), refine, plan=refine_plan)


def make_draft(pipe, plan, **numbers):
    settings = DraftSettings.from_defaults(pipe.stage1.config.defaults, steps=STEPS, **numbers)
    return run_draft(pipe, "a red ball", settings, plan=plan)


def test_a_clip(pipe, device):
    """Both branches of guidance in one batch, the VAE's passes whole.

    Read are the checks for NaN: of every evaluation, of the reference. Copied are texts, noise, latents and frames.
    """
    clip = make_clip(pipe, DraftPlan(None, 2), RefinePlan(None, None, 2), negative="blurred")
    assert clip.frames.shape == (49, 1072, 1920, 3) and clip.frames.device.type == "cpu"
    assert device.syncs == Counter({"sampling.check_finite": 2 * STEPS + 1})
    assert device.random == Counter({("sampling.make_draw_noise", "cpu"): 1 + 2 * (STEPS - 2) + 1 + 1})
    assert device.to_card == Counter(
        {"phases.embed": 3, "sampling.make_draw_noise": 5, "vae_passes.stream_spans": 2, "vae_passes.encode_frames": 3}
    )
    assert device.to_host == Counter({"phases.sample_draft": 1, "vae_passes.decode": 12, "phases.refine_reference": 1})
    assert device.host_work.keys() == {
        "sampling.make_draw_noise",
        "vae_passes.to_image_range",
        "vae_passes.to_model_range",
        "mapped.allocate",
    }


def test_in_chunks_and_in_two_passes(pipe, device):
    """Nine frames, a frame a chunk in the hand-off and the decode; constant guidance, without a negative prompt."""
    plans = DraftPlan((24, 40), 1), RefinePlan(FRAME, FRAME, 1)
    clip = make_clip(replace(pipe, attention=chunked), *plans, frames=9, guidance="constant")
    assert clip.frames.shape == (9, 1072, 1920, 3)
    assert device.syncs == Counter({"sampling.check_finite": 4 * STEPS + 1})
    assert device.to_host["tiling.map_tiles"] == device.to_card["vae_stream._decode_tile"] > 1  # the draft's tiles


def chunked(q, k, v):
    """`chunked_attention` in few chunks, since each of their operations takes its time here."""
    return chunked_attention(q, k, v, scores=q.shape[1] * q.shape[2] ** 2 // 2)


def test_in_tiles(pipe, device):
    """Of a plan for little memory: each tile goes to the card and comes back."""
    clip = make_clip(pipe, DraftPlan(None, 2), RefinePlan(TILE, TILE, 2), frames=5)
    assert clip.frames.shape == (5, 1072, 1920, 3)
    assert device.syncs == Counter({"sampling.check_finite": 2 * STEPS + 1})
    tiles = len(split_axis(134, TILE[0], tile_overlap(TILE))) * len(split_axis(240, TILE[1], tile_overlap(TILE)))
    assert device.to_card["vae_stream._encode_tile"] == device.to_card["vae_stream._decode_tile"] == tiles
    assert device.to_card["vae_passes.encode_frames"] == device.to_card["vae_passes.stream_spans"] == 1  # latents
    assert device.to_host["tiling.map_tiles"] == 2 * tiles


@torch.no_grad()
def test_what_programs_call_beside_the_pipeline(pipe, device):
    """A sampled posterior, the released strips, stages in fp8, noise that the device draws itself."""
    z = torch.zeros(1, 16, 2, 32, 60, device=device.card)
    assert prepare_reference(z, pipe.vae, (256, 480), make_draw_noise(0)).device == device.card
    assert decode_released_strips(pipe.vae, z).device == device.card
    keep_all_fp8(pipe.stage1)
    txt = torch.zeros(1, STAGE1.text_length, STAGE1.text_dim, device=device.card)
    assert sample_stage1(pipe.stage1, torch.randn_like(z), txt, steps=STEPS).device == device.card
    assert device.random["sampling.make_draw_noise", "cpu"] == 1
    assert device.random["sampling.sample_stage1", "card"] + device.random["solvers.dpmpp_2m_sde", "card"] == 3


def test_a_tensor_on_the_wrong_device_is_found(pipe, monkeypatch):
    """Rotary positions made on the CPU, as without their device argument."""
    monkeypatch.setattr(dit, "rope_rotations", lambda t, h, w, device, text: rope_rotations(t, h, w, text=text))
    with pytest.raises(RuntimeError, match="two devices, card:0 and cpu"):
        make_draft(pipe, DraftPlan(None, 2), frames=5)


def test_hidden_reads_copies_and_draws_are_found(pipe, device):
    """An attention that looks at its result, takes it to the host and back, and adds noise of the CPU's generator."""

    def careless(q, k, v):
        if bool((v > 0).any()) and v.sum().item() and len(v.nonzero()):
            return (v.cpu() + torch.randn(v.shape)).to(v)
        return v

    make_draft(replace(pipe, attention=careless), DraftPlan(None, 2), frames=5)
    block, calls = "dit.Block.forward", 2 * STEPS
    assert device.syncs[block] == 3 * calls
    assert device.to_host[block] == device.to_card[block] == device.random[block, "cpu"] == calls
