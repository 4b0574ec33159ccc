"""A server for the tests of the batch client that works as ComfyUI does, one prompt after the other."""

import asyncio
import threading
from contextlib import ExitStack
from pathlib import Path

import torch
from support.answering_server import history, serve, web
from support.queue_graph import make_review_graph

from flashvideo_core.cli.servers import run_on_servers
from flashvideo_core.cli.workflow import PromptLine
from flashvideo_core.media.draft_file import pack_latent

LINES = [PromptLine(text, {"prompt": text}) for text in ("one", "two", "three", "four", "five", "six")]


class Comfy:
    """A server that runs one prompt after the other, and keeps what it was told when it goes and returns.

    seconds: that each prompt takes. is_stuck: none ends.
    """

    def __init__(self, name: str, seconds: float = 0.02, is_stuck: bool = False):
        self.name, self.seconds, self.is_stuck = name, seconds, is_stuck
        self.pending: list[str] = []
        self.ended: list[str] = []
        self.bodies: dict[str, dict] = {}
        self.most, self.port = 0, 0
        self.life = ExitStack()

    def start(self) -> str:
        address = self.life.enter_context(serve(self.answers(), self.port))
        self.port = int(address.rpartition(":")[2])
        return address

    def stop(self) -> None:
        self.life.close()

    def stop_soon(self) -> None:
        """For the loop of the client: stop() waits for its connections."""
        threading.Thread(target=self.stop).start()

    def texts(self, ids: list[str]) -> list[str]:
        return [self.bodies[prompt_id]["prompt"]["text"]["inputs"]["prompt"] for prompt_id in ids]

    def answers(self) -> dict:
        return {
            **{"/prompt": self.prompt, "/ws": self.socket, "/queue": self.queue, "/view": self.view},
            **{"/history/{id}": self.history, "/upload/image": self.upload},
        }

    async def prompt(self, request):
        body = await request.json()
        self.bodies[body["prompt_id"]] = body
        self.pending.append(body["prompt_id"])
        self.most = max(self.most, len(self.pending))
        return web.json_response({"prompt_id": body["prompt_id"], "node_errors": {}})

    async def socket(self, request):
        out = web.WebSocketResponse()
        await out.prepare(request)
        working = asyncio.create_task(self.work(out))
        async for _ in out:
            pass
        working.cancel()
        return out

    async def work(self, out):
        while True:
            await asyncio.sleep(self.seconds)
            if self.pending and not self.is_stuck:
                self.ended.append(self.pending.pop(0))
                await out.send_json({"type": "executing", "data": {"node": None, "prompt_id": self.ended[-1]}})

    async def queue(self, request):
        for prompt_id in (await request.json())["delete"] if request.method == "POST" else []:
            self.pending.remove(prompt_id)
        return web.json_response({"queue_pending": [[0, prompt_id] for prompt_id in self.pending]})

    async def history(self, request):
        prompt_id = request.match_info["id"]
        (text,) = self.texts([prompt_id]) if prompt_id in self.bodies else [""]
        files = [{"filename": f"{text}-{self.name}.mp4", "subfolder": "", "type": "output"}]
        outputs = {"9": {"images": files}}
        if self.bodies.get(prompt_id, {}).get("partial_execution_targets"):
            outputs = {"review": {"drafts": files, "draft_latents": files}}
        return web.json_response(history(prompt_id, outputs) if prompt_id in self.ended else {})

    async def view(self, request):
        return web.Response(body=pack_latent(torch.ones(1, 16, 2, 4, 6), {}))

    async def upload(self, request):
        self.uploaded = await request.post()
        return web.json_response({"name": self.uploaded["image"].filename})


def run(addresses: list[str], folder: Path, lines: list[PromptLine] = LINES, **options):
    """The records and the notes. hooks: what to do when a note contains a text, once."""
    notes, hooks = [], options.pop("hooks", {})

    def note(text: str) -> None:
        notes.append(text)
        for part in [part for part in hooks if part in text]:
            hooks.pop(part)()

    return run_on_servers(lines, make_review_graph(), addresses, folder, note=note, **options), notes


def check_once(folder: Path, records: list[dict]) -> None:
    """Every line has a folder with one clip, which its record names."""
    assert [record["state"] for record in records] == ["done"] * len(LINES)
    clips = [path.name for path in folder.rglob("*.mp4")]
    assert sorted(clips) == sorted(name for record in records for name in record["files"])
    assert sorted(name.partition("-")[0] for name in clips) == sorted(line.prompt for line in LINES)
