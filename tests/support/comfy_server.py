"""A real ComfyUI server for the tests, with this pack in it, and its messages.

    with ComfyServer() as server:
        result = server.run(prompt)      # API-form graph, with validation and to the end
        result.cached, result.executed, result.outputs, result.error

The websocket is listened to by ComfyUI's own Python (it has aiohttp).
"""

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from support.comfyui import COMFYUI_PATH, COMFYUI_PYTHON, PACK, Prompt

_LISTENER = """
import asyncio, base64, json, sys, aiohttp
async def main():
    async with aiohttp.ClientSession() as session, session.ws_connect(sys.argv[1], max_msg_size=0) as ws:
        await ws.send_json({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
        async for message in ws:
            if message.type is aiohttp.WSMsgType.TEXT:
                print(message.data, flush=True)
            elif message.type is aiohttp.WSMsgType.BINARY:
                kind, data = int.from_bytes(message.data[:4], "big"), message.data[4:]
                print(json.dumps({"type": "binary", "kind": kind, "data": base64.b64encode(data).decode()}), flush=True)
asyncio.run(main())
"""


Data = dict[str, Any]
"""A JSON object of the server."""

FORGET: Prompt = {
    "black": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
    "show": {"class_type": "PreviewImage", "inputs": {"images": ["black", 0]}},
}
"""The smallest prompt, of ComfyUI's own nodes."""


@dataclasses.dataclass
class Result:
    """What became of one prompt. `error` is the node's message, "interrupted" or None."""

    prompt_id: str
    outputs: dict[str, Data]
    cached: list[str]
    executed: list[str]
    error: str | None
    error_node: str | None
    messages: list[Data]

    def previews(self) -> list[Data]:
        return [m for m in self.messages if m["type"] == "binary"]

    def progress(self, node: str) -> list[tuple[float, float]]:
        states = [m["data"]["nodes"].get(node) for m in self.messages if m["type"] == "progress_state"]
        return [(state["value"], state["max"]) for state in states if state]


class ComfyServer:
    """A ComfyUI server process on a free port, with a base directory of its own and the given packs in it."""

    def __init__(self, packs: dict[str, Path] | None = None, args: tuple[str, ...] = (), base: Path | None = None):
        self.packs = {"ComfyUI-FlashVideo": PACK} if packs is None else packs
        self.args, self._given_base = args, base

    def __enter__(self) -> "ComfyServer":
        self.base = Path(self._given_base or tempfile.mkdtemp(prefix="comfy-base-"))
        for folder in ("models", "custom_nodes", "input", "output", "user", "temp"):
            (self.base / folder).mkdir(exist_ok=True)
        for name, path in self.packs.items():
            link = self.base / "custom_nodes" / name
            link.unlink(missing_ok=True)
            link.symlink_to(path, target_is_directory=True)
        self.port, self.client_id = _free_port(), uuid.uuid4().hex
        self.url, self.log_path = f"http://127.0.0.1:{self.port}", self.base / "server.log"
        self.log_file = self.log_path.open("w")
        self.listener = None
        self.start()
        try:
            self._wait_until_ready()
            self._listen()
        except BaseException:
            self.__exit__()  # a with statement does not, and the server would stay
            raise
        return self

    def __exit__(self, *_) -> None:
        processes = [process for process in (self.listener, self.process) if process is not None]
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.log_file.close()
        if self._given_base is None:
            shutil.rmtree(self.base, ignore_errors=True)

    def start(self) -> None:
        """The process; again, after it was killed, on the same port."""
        out = {"stdout": self.log_file, "stderr": subprocess.STDOUT}
        self.process = subprocess.Popen(self._command(), cwd=COMFYUI_PATH, **out)

    def _command(self) -> list[str]:
        return [
            *(str(COMFYUI_PYTHON), "main.py", "--cpu", "--listen", "127.0.0.1", "--port", str(self.port)),
            *("--base-directory", str(self.base), "--database-url", "sqlite:///:memory:", "--disable-api-nodes"),
            *("--use-pytorch-cross-attention", "--disable-all-custom-nodes"),
            *(["--whitelist-custom-nodes", *self.packs] if self.packs else []),
            *self.args,
        ]

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"ComfyUI ended with code {self.process.returncode}:\n{self.log()[-4000:]}")
            try:
                self.get("/system_stats")
                self.start_log = self.log()
                return
            except OSError:
                time.sleep(0.25)
        raise RuntimeError(f"ComfyUI did not answer within 300 s:\n{self.log()[-4000:]}")

    def _listen(self) -> None:
        url = f"http://127.0.0.1:{self.port}/ws?clientId={self.client_id}"
        self.messages: list[Data] = []
        self.listener = subprocess.Popen([str(COMFYUI_PYTHON), "-c", _LISTENER, url], stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self._collect, daemon=True).start()
        self.wait_for(lambda m: m["type"] == "status")

    def _collect(self) -> None:
        for line in self.listener.stdout:
            self.messages.append(json.loads(line))

    def wait_for(self, condition: Callable[[Data], bool], start: int = 0, timeout: float = 300) -> Data:
        """The first websocket message from index `start` on that meets the condition."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            for message in self.messages[start:]:
                if condition(message):
                    return message
                start += 1
            if self.process.poll() is not None:
                raise RuntimeError(f"ComfyUI ended with code {self.process.returncode}:\n{self.log()[-4000:]}")
            time.sleep(0.02)
        raise TimeoutError(f"no such message within {timeout} s:\n{self.log()[-4000:]}")

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=30) as response:
            return json.load(response)

    def post(self, path: str, body: Data) -> tuple[int, Data | None]:
        data = json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                status, text = response.status, response.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        return status, json.loads(text) if text else None

    def submit(self, prompt: Prompt, targets: list[str] | None = None, extra_data: Data | None = None) -> str:
        """Queues an API-form graph. Raises ValueError with the server's reasons if it is refused."""
        body = {"prompt": prompt, "client_id": self.client_id, "prompt_id": str(uuid.uuid4())}
        if targets is not None:
            body["partial_execution_targets"] = targets
        if extra_data is not None:
            body["extra_data"] = extra_data
        status, answer = self.post("/prompt", body)
        if status != 200 or answer.get("node_errors"):
            raise ValueError(json.dumps(answer))
        return answer["prompt_id"]

    def wait(self, prompt_id: str, start: int = 0, timeout: float = 300) -> Result:
        """Waits until the prompt is through (history is written just before `executing` None)."""

        def ended(m: Data) -> bool:
            data = m.get("data")
            return m["type"] == "executing" and data["node"] is None and data.get("prompt_id") == prompt_id

        self.wait_for(ended, start, timeout)
        history = self.get(f"/history/{prompt_id}")[prompt_id]
        messages = self.messages[start:]
        mine = [m for m in messages if m["type"] != "binary" and m["data"].get("prompt_id") == prompt_id]
        cached = next((m["data"]["nodes"] for m in mine if m["type"] == "execution_cached"), [])
        executed = [m["data"]["node"] for m in mine if m["type"] == "executing" and m["data"]["node"] is not None]
        failed = next((m["data"] for m in mine if m["type"] == "execution_error"), None)
        stopped = next((m["data"] for m in mine if m["type"] == "execution_interrupted"), None)
        error = failed["exception_message"] if failed else "interrupted" if stopped else None
        node = (failed or stopped or {}).get("node_id")
        return Result(prompt_id, history["outputs"], cached, executed, error, node, messages)

    def run(
        self, prompt: Prompt, targets: list[str] | None = None, extra_data: Data | None = None, timeout: float = 600
    ) -> Result:
        """Queues a prompt and waits until it is through, with or without an error."""
        start = len(self.messages)
        return self.wait(self.submit(prompt, targets, extra_data), start, timeout)

    def complete(self, prompt: Prompt, targets: list[str] | None = None, extra_data: Data | None = None) -> Result:
        """run(), for a prompt that has to end without an error."""
        result = self.run(prompt, targets, extra_data)
        assert result.error is None, (result.error_node, result.error)
        return result

    def forget(self) -> None:
        """Throws away cached results and loaded models, and what earlier tests put into the input folder.

        The worker looks at the flags of /free after each prompt: what is queued after this one meets an empty cache.
        """
        self.post("/free", {"unload_models": True, "free_memory": True})
        self.run(FORGET)
        for path in (self.base / "input").rglob("*"):
            if path.is_file():
                path.unlink()

    def saved_latents(self, result: Result) -> dict[str, torch.Tensor]:
        """The latents that the Save Latent nodes of a run have written, by node id."""
        saved = {node: output["latents"][0] for node, output in result.outputs.items() if "latents" in output}
        paths = {node: self.base / "output" / at["subfolder"] / at["filename"] for node, at in saved.items()}
        return {node: load_file(path)["latent_tensor"] for node, path in paths.items()}

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def rss(self) -> int:
        """Resident memory of the server process in bytes."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
