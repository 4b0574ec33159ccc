"""The real editor without ComfyUI: the pip package comfyui-frontend-package, and a recorded /object_info.

Serves what the editor needs to open, show and convert a workflow. Nothing can be run here. The recording is
tests/data/object_info.json, written by make_workflows.py and held against the live server by test_workflows.py.
"""

import asyncio
import importlib.util
import json
import threading
from pathlib import Path

import pytest
from support.comfyui import PACK, NodeInfo

try:
    from aiohttp import web
except ImportError:
    web = None

RECORDING = PACK / "tests" / "data" / "object_info.json"
PACKAGE = importlib.util.find_spec("comfyui_frontend_package")
AVAILABLE = web is not None and PACKAGE is not None
requires_frontend = pytest.mark.skipif(
    not AVAILABLE, reason="NO EDITOR: the Python packages comfyui-frontend-package and aiohttp are missing"
)

FILE_INPUTS = {"model_name", "vae_name", "clip_name", "lora_name", "file", "latent"}
"""Inputs whose options are the files of a machine."""

ANSWERS = {
    "/users": {"storage": "server", "migrated": True},
    "/system_stats": {"system": {"comfyui_version": "0.33.0", "argv": [], "os": "linux"}, "devices": []},
    "/extensions": [f"/extensions/ComfyUI-FlashVideo/{name}.js" for name in ("review", "preview")],
    "/prompt": {"exec_info": {"queue_remaining": 0}},
    "/queue": {"queue_running": [], "queue_pending": []},
    "/jobs": {"jobs": [], "pagination": {"offset": 0, "limit": 0, "total": 0, "has_more": False}},
    "/experiment/models": [],
    "/embeddings": [],
    "/userdata": [],
}


class EditorServer:
    """The editor on a free port, in a thread of its own. `url` as for a ComfyUI server."""

    def __enter__(self) -> "EditorServer":
        self.loop, self.settings, started = asyncio.new_event_loop(), {}, threading.Event()
        self.thread = threading.Thread(target=self._serve, args=(started,), daemon=True)
        self.thread.start()
        assert started.wait(30)
        return self

    def __exit__(self, *_) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

    def _serve(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._start())
        started.set()
        self.loop.run_forever()
        self.loop.run_until_complete(self.runner.cleanup())
        self.loop.close()

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_get("/ws", self._socket)
        app.router.add_post("/api/settings", self._set)
        app.router.add_post("/api/settings/{name}", self._set)
        app.router.add_get("/api/settings", self._all_settings)
        app.router.add_get("/api/object_info", serve(RECORDING))
        app.router.add_get("/{root:api|internal}/{path:.*}", self._answer)
        app.router.add_static("/extensions/ComfyUI-FlashVideo", PACK / "nodes" / "web")
        static = Path(PACKAGE.submodule_search_locations[0]) / "static"
        app.router.add_get("/", serve(static / "index.html"))
        app.router.add_static("/", static)
        self.runner = web.AppRunner(app, shutdown_timeout=1)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}"

    async def _all_settings(self, request) -> "web.Response":
        return web.json_response(self.settings)

    async def _set(self, request) -> "web.Response":
        value = await request.json()
        name = request.match_info.get("name")
        self.settings.update({name: value} if name else value)
        return web.Response()

    async def _answer(self, request) -> "web.Response":
        path = "/" + request.match_info["path"]
        if path.startswith("/userdata/"):
            return web.Response(status=404)
        return web.json_response(ANSWERS.get(path, {}))

    async def _socket(self, request) -> "web.WebSocketResponse":
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"type": "status", "data": {"status": ANSWERS["/prompt"], "sid": "recorded"}})
        async for _ in socket:
            pass
        return socket


def serve(path: Path):
    async def handler(request) -> "web.FileResponse":
        return web.FileResponse(path)

    return handler


def recorded() -> dict[str, NodeInfo]:
    """Node definitions by node id."""
    return json.loads(RECORDING.read_text())
