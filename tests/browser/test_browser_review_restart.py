"""Drafts outlive the server, which keeps neither results nor history nor its temp folder."""

import pytest
from support.comfy_server import ComfyServer
from support.editor import Editor, requires_browser
from support.review_panel import Review

pytestmark = [pytest.mark.browser, pytest.mark.comfyui, requires_browser]


def test_drafts_are_refined_after_a_restart(tmp_path):
    with ComfyServer(base=tmp_path) as server, Editor(server.url) as first:
        before = Review(first, tmp_path)
        before.press("Make drafts")
        shown, workflow = before.sources(), before.editor.to_workflow()
    with ComfyServer(base=tmp_path) as server, Editor(server.url) as second:
        after = Review(second, tmp_path, workflow)
        assert [source.split("/view")[1] for source in after.sources()] == [s.split("/view")[1] for s in shown]
        after.page.wait_for_function("() => document.querySelector('.flashvideo-review video').currentTime > 0")
        after.choose(1)
        assert after.refine()["9"]["inputs"] == {"latent": after.latent(0, 1)}
