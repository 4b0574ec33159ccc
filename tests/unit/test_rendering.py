"""Clips made ahead of the networks that use them, by other processes or by this one."""

import torch

from flashvideo_core.tiny.clips import dequantize, render_patch
from flashvideo_core.tiny.latents import render_draft_clip, render_patch_pair
from flashvideo_core.tiny.rendering import AHEAD, ALL, open_renderers, render_ahead


def test_other_processes_render_the_same_clips_in_the_same_order():
    groups = [[5, 0], [1], [2, 3], *([i] for i in range(6, 7 + AHEAD))]
    here = list(render_ahead(render_draft_clip, groups))
    with open_renderers(2) as renderers:
        for ahead in (1, AHEAD, ALL):
            there = list(render_ahead(render_draft_clip, groups, renderers, ahead))
            assert [len(found["clip"]) for found in there] == [len(group) for group in groups]
            assert all(torch.equal(a["clip"], b["clip"]) for a, b in zip(here, there, strict=True))


def test_renderers_begin_before_they_are_asked_and_stop_with_what_waits():
    """What nobody has asked for yet holds up nobody's end."""
    with open_renderers(1) as renderers:
        clips = render_ahead(render_draft_clip, [[i] for i in range(3000)], renderers, ALL)
        assert next(clips)["clip"].shape == (1, 3, 17, 64, 96)
        last = renderers.submit(len, ())
    assert last.cancelled()


def test_what_belongs_to_a_clip_stays_together():
    """Of four drafts in a row every other one is degraded, and all but the last go through the VAE."""
    pairs = next(render_ahead(render_patch_pair, [range(4)]))
    assert pairs["clip"].shape == (4, 3, 17, 128, 192) and pairs["draft"].shape == (4, 3, 17, 32, 48)
    rendered = torch.stack([render_patch(i) for i in range(4)])
    clean = torch.nn.functional.avg_pool2d(rendered.flatten(0, 1), 4).unflatten(0, (4, 3))
    off = (dequantize(pairs["draft"]) - clean).abs().amax((1, 2, 3, 4))
    assert (off > 0.501 / 127.5).tolist() == [False, True, False, True]
    assert pairs["from_vae"][:, 0].tolist() == [True, True, True, False]
