"""The real editor, by frontend and rendering: that of the ComfyUI checkout, and the newest on PyPI."""

import pytest
from support.comfy_server import ComfyServer
from support.editor import Editor
from support.newest_frontend import fetch_newest_frontend
from support.review_panel import RENDERINGS, Review

EVERYWHERE = [*RENDERINGS, "newest-classic", "newest-nodes2"]


@pytest.fixture(scope="session")
def newest_server(tmp_path_factory):
    """A ComfyUI that serves the newest frontend; skips where that cannot be fetched."""
    folder = fetch_newest_frontend(tmp_path_factory.mktemp("frontend"))
    with ComfyServer(args=("--front-end-root", str(folder))) as running:
        yield running


@pytest.fixture(scope="module", params=EVERYWHERE)
def editor(request):
    """A module asks for fewer by parametrizing it: `@pytest.mark.parametrize("editor", RENDERINGS, indirect=True)`."""
    frontend, _, rendering = request.param.rpartition("-")
    server = request.getfixturevalue("newest_server" if frontend else "server")
    with Editor(server.url, vue_nodes=rendering == "nodes2") as running:
        running.kind, running.base = request.param, server.base
        yield running


@pytest.fixture
def review(editor):
    return Review(editor, editor.base)
