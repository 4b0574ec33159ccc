"""An HTTP server for the tests of the batch client that answers what it is told to, in a thread of its own."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

import pytest

web = pytest.importorskip("aiohttp.web", reason="NO AIOHTTP: the batch client is not tested")


def history(prompt_id: str, outputs: dict) -> dict:
    return {prompt_id: {"status": {"messages": []}, "outputs": outputs}}


@contextmanager
def serve(answers: dict[str, Callable], port: int = 0) -> Iterator[str]:
    """A server on this machine with these answers by path, and a WebSocket unless /ws is among them."""
    started: Future[tuple[str, Callable[[], None]]] = Future()
    thread = threading.Thread(target=lambda: asyncio.run(serve_until_stopped({"/ws": socket} | answers, port, started)))
    thread.start()
    address, stop = started.result(10)
    try:
        yield address
    finally:
        stop()
        thread.join(10)


async def socket(request):
    out = web.WebSocketResponse()
    await out.prepare(request)
    async for _ in out:
        pass
    return out


async def serve_until_stopped(answers: dict[str, Callable], port: int, started: Future) -> None:
    """Sets `started` to the address and to a function that ends this from another thread."""
    app, stop, loop = web.Application(), asyncio.Event(), asyncio.get_running_loop()
    for path, answer in answers.items():
        app.router.add_route("*", path, answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    host, port = runner.addresses[0]
    started.set_result((f"{host}:{port}", lambda: loop.call_soon_threadsafe(stop.set)))
    await stop.wait()
    await runner.cleanup()


def ended_at_once(files: list[dict], outputs: dict | None = None) -> dict[str, Callable]:
    """A server that has a run done as soon as it is asked, with these files or these outputs by node."""
    prompts: list[str] = []
    outputs = outputs or {"9": {"images": files}}

    async def prompt(request):
        prompts.append((await request.json())["prompt_id"])
        return web.json_response({"prompt_id": prompts[-1], "node_errors": {}})

    async def tell_ends(out):
        told = 0
        while True:
            if told < len(prompts):
                await out.send_json({"type": "executing", "data": {"node": None, "prompt_id": prompts[told]}})
                told += 1
            await asyncio.sleep(0.01)

    async def socket(request):
        out = web.WebSocketResponse()
        await out.prepare(request)
        telling = asyncio.create_task(tell_ends(out))
        async for _ in out:
            pass
        telling.cancel()
        return out

    async def of_history(request):
        return web.json_response(history(request.match_info["id"], outputs))

    async def view(request):
        return web.Response(body=request.query["filename"].encode())

    async def queue(request):
        return web.json_response({"queue_running": [], "queue_pending": []})

    return {"/prompt": prompt, "/ws": socket, "/history/{id}": of_history, "/view": view, "/queue": queue}
