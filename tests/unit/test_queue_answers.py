"""The batch client before servers that answer what they should not: one sentence, and nothing written outside."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from support.queue_graph import make_review_graph

from flashvideo_core.cli.client import find_url, run_queue
from flashvideo_core.cli.queue_entry import name_files
from flashvideo_core.cli.server_answers import parse_message
from flashvideo_core.cli.workflow import PromptLine
from flashvideo_core.errors import InputError

web = pytest.importorskip("aiohttp.web", reason="NO AIOHTTP: the batch client is not tested")
LINE = PromptLine("p", {"prompt": "p"})


def history(prompt_id: str, files: list[dict]) -> dict:
    return {prompt_id: {"status": {"messages": []}, "outputs": {"9": {"images": files}}}}


@contextmanager
def serve(answers: dict[str, Callable]) -> Iterator[str]:
    """A server on this machine with these answers by path, and a WebSocket unless /ws is among them."""
    loop, started, address = asyncio.new_event_loop(), threading.Event(), []

    async def socket(request):
        out = web.WebSocketResponse()
        await out.prepare(request)
        async for _ in out:
            pass
        return out

    async def start() -> None:
        app = web.Application()
        for path, answer in ({"/ws": socket} | answers).items():
            app.router.add_route("*", path, answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        address.append(f"127.0.0.1:{site._server.sockets[0].getsockname()[1]}")
        started.set()

    def run() -> None:
        loop.run_until_complete(start())
        loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield address[0]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


def ended_at_once(files: list[dict]) -> dict[str, Callable]:
    """A server that has the run done as soon as it is asked, with these files."""
    prompts = []

    async def prompt(request):
        prompts.append((await request.json())["prompt_id"])
        return web.json_response({"prompt_id": prompts[-1], "node_errors": {}})

    async def socket(request):
        out = web.WebSocketResponse()
        await out.prepare(request)
        while not prompts:
            await asyncio.sleep(0.01)
        await out.send_json({"type": "executing", "data": {"node": None, "prompt_id": prompts[-1]}})
        async for _ in out:
            pass
        return out

    async def of_history(request):
        return web.json_response(history(request.match_info["id"], files))

    async def view(request):
        return web.Response(body=request.query["filename"].encode())

    async def queue(request):
        return web.json_response({"queue_running": [], "queue_pending": []})

    return {"/prompt": prompt, "/ws": socket, "/history/{id}": of_history, "/view": view, "/queue": queue}


def test_files_land_beside_the_record_whatever_the_server_calls_them(tmp_path):
    outside = tmp_path / "outside.mp4"
    names = [str(outside), "../../up.mp4", "a/clip.mp4", "b\\clip.mp4", "clip-0.json", ".hidden", "..", "plain.mp4"]
    files = [{"filename": name, "subfolder": "", "type": "output"} for name in names]
    with serve(ended_at_once(files)) as address:
        (record,) = run_queue([LINE], make_review_graph(), address, tmp_path / "clips")
    assert record["state"] == "done"
    (folder,) = (tmp_path / "clips").iterdir()
    assert {path.name for path in folder.iterdir()} == {*record["files"], "clip-0.json"}
    assert not outside.exists() and len(set(record["files"])) == len(names)
    assert (folder / record["files"][0]).read_text() == str(outside)
    assert list((tmp_path).rglob("up.mp4")) == [folder / "up.mp4"]


def test_names_are_plain_and_differ():
    files = [{"filename": name} for name in ("x/a.mp4", "y/a.mp4", "/etc/passwd", "C:\\b.mp4", "...", "clip-0.json")]
    assert name_files(files, "clip-0.json") == ["a.mp4", "1-a.mp4", "passwd", "b.mp4", "4-file", "5-clip-0.json"]


async def a_web_page(request):
    return web.Response(text="<html>404</html>", status=404, content_type="text/html")


async def a_list(request):
    return web.json_response([])


async def without_status(request):
    return web.json_response({request.match_info["id"]: {"outputs": {}}})


async def with_odd_outputs(request):
    return web.json_response({request.match_info["id"]: {"status": {"messages": []}, "outputs": {"9": [1]}}})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"/ws": a_web_page}, "does not answer as ComfyUI does"),
        ({"/queue": a_web_page}, "GET /queue was answered with status 404 and no JSON object"),
        ({"/queue": a_list}, "GET /queue was answered with status 200 and no JSON object"),
        ({"/prompt": a_web_page}, "POST /prompt was answered with status 404"),
        ({"/history/{id}": a_web_page}, "GET /history/.* was answered with status 404"),
        ({"/history/{id}": without_status}, "no status that can be read"),
        ({"/history/{id}": with_odd_outputs}, "names no files that can be read"),
        ({"/view": a_web_page}, "does not answer as ComfyUI does"),
    ],
)
def test_another_server_is_one_sentence(changes, said, tmp_path):
    file = {"filename": "a.mp4", "subfolder": "", "type": "output"}
    with serve(ended_at_once([file]) | changes) as address, pytest.raises(InputError, match=said) as error:
        run_queue([LINE], make_review_graph(), address, tmp_path)
    assert "\n" not in str(error.value)


def test_a_refused_line_leaves_the_others(tmp_path):
    answers = ended_at_once([])
    accept, asked = answers["/prompt"], []

    async def prompt(request):
        asked.append(request)
        if len(asked) > 1:
            return await accept(request)
        return web.json_response({"error": {"message": "no such model"}, "node_errors": {}}, status=400)

    lines = [LINE, PromptLine("q", {"prompt": "q"})]
    with serve(answers | {"/prompt": prompt}) as address:
        records = run_queue(lines, make_review_graph(), address, tmp_path)
    assert [record["state"] for record in records] == ["failed", "done"]
    assert records[0]["error"] == "no such model"


@pytest.mark.parametrize(
    "server", ["ftp://127.0.0.1:8188", "http://127.0.0.1:8188/comfy", "127.0.0.1:8188/x", "http://"]
)
def test_what_is_no_address_is_refused(server):
    with pytest.raises(InputError, match="write HOST:PORT"):
        find_url(server)


def test_addresses():
    assert find_url("127.0.0.1:8188") == find_url("http://127.0.0.1:8188/") == "http://127.0.0.1:8188"


@pytest.mark.parametrize("text", ["no json", "[1]", '{"data": 5}', "[" * 100_000])
def test_odd_messages_are_passed_over(text):
    assert parse_message(text) == {}
