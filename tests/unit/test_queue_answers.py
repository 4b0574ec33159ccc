"""The batch client before servers that answer what they should not: one sentence, and nothing written outside."""

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from support.answering_server import ended_at_once, serve, socket, web
from support.queue_graph import make_review_graph

from flashvideo_core.cli import client
from flashvideo_core.cli.client import find_url, run_queue
from flashvideo_core.cli.main import terminable
from flashvideo_core.cli.queue_entry import QueueRecord, name_files
from flashvideo_core.cli.workflow import PromptLine
from flashvideo_core.errors import InputError
from flashvideo_core.media.draft_file import load_draft, pack_latent

LINE = PromptLine("p", {"prompt": "p"})


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
    wanted = ["a.mp4", "1-a.mp4", "passwd", "b.mp4", "file", "5-clip-0.json"]
    assert name_files(files, {"clip-0.json"}) == wanted
    assert name_files(files[:1], {"a.mp4", "0-a.mp4"}) == ["1-a.mp4"]


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_fetches_what_has_ended_and_names_the_rest(number, tmp_path):
    """The server has ended the first prompt without a message and works on the second."""
    answers, asked = ended_at_once([{"filename": "a.mp4", "subfolder": "", "type": "output"}]), []

    async def prompt(request):
        asked.append((await request.json())["prompt_id"])
        if len(asked) == 2:
            asyncio.get_running_loop().call_later(0.2, os.kill, os.getpid(), number)
        return web.json_response({"prompt_id": asked[-1], "node_errors": {}})

    async def of_history(request):
        ended = len(asked) == 2 and request.match_info["id"] == asked[0]
        return await answers["/history/{id}"](request) if ended else web.json_response({})

    changes = {"/prompt": prompt, "/history/{id}": of_history, "/ws": socket}
    lines = [LINE, PromptLine("q", {"prompt": "q"})]
    said = "1 of 2 done, 1 still with the server; the same command goes on"
    with serve(answers | changes) as address, terminable(), pytest.raises(KeyboardInterrupt, match=said):
        run_queue(lines, make_review_graph(), address, tmp_path)
    assert sorted(record["state"] for record in read_records(tmp_path)) == ["done", "queued"]
    assert [path.read_text() for path in tmp_path.rglob("a.mp4")] == ["a.mp4"]


def test_the_same_line_twice_is_queued_once(tmp_path):
    answers, asked = ended_at_once([]), []

    async def prompt(request):
        asked.append(request)
        return await answers["/prompt"](request)

    with serve(answers | {"/prompt": prompt}) as address:
        records = run_queue([LINE, LINE], make_review_graph(), address, tmp_path)
    assert len(records) == len(asked) == 1


def test_a_prompt_that_the_server_has_dropped_is_given_up(tmp_path, monkeypatch):
    """As when the queue is cleared in the editor: neither queued nor in the history."""

    async def of_history(request):
        return web.json_response({})

    monkeypatch.setattr(client, "LISTEN_SECONDS", 0.05)
    with serve(ended_at_once([]) | {"/history/{id}": of_history, "/ws": socket}) as address:
        (record,) = run_queue([LINE], make_review_graph(), address, tmp_path)
    assert (record["state"], record["error"]) == ("failed", "it was removed from the server's queue")


def read_records(folder: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in folder.rglob("*.json")]


def drafts_of(folder: Path, latents: list[bytes]) -> QueueRecord:
    """The record of drafts from a server whose review tells of x0.webm, x1.webm and these latents."""
    videos = [{"filename": f"x{i}.webm", "subfolder": "", "type": "output"} for i, _ in enumerate(latents)]
    saved = [{"filename": f"{i}", "subfolder": "", "type": "output"} for i, _ in enumerate(latents)]
    answers = ended_at_once([], {"review": {"drafts": videos, "draft_latents": saved}})

    async def view(request):
        name = request.query["filename"]
        return web.Response(body=latents[int(name)] if name.isdigit() else name.encode())

    with serve(answers | {"/view": view}) as address:
        return run_queue([LINE], make_review_graph(), address, folder, drafts=True)[0]


def test_drafts_are_numbered_and_lie_beside_their_latents(tmp_path):
    latents = torch.randn(2, 16, 2, 4, 6).split(1)
    record = drafts_of(tmp_path, [pack_latent(z, {}) for z in latents])
    (folder,) = tmp_path.iterdir()
    assert record["files"] == ["draft-0.webm", "draft-1.webm", "draft-0.safetensors", "draft-1.safetensors"]
    assert [(folder / f"draft-{i}.webm").read_text() for i in (0, 1)] == ["x0.webm", "x1.webm"]
    for i, z in enumerate(latents):
        assert torch.equal(load_draft(folder / f"draft-{i}.safetensors")[0], z)


@pytest.mark.parametrize("content", [b"", b"no", save({"x": torch.zeros(1)}), pack_latent(torch.zeros(2, 3), {})])
def test_what_is_no_latent_is_named_when_it_is_refined(content, tmp_path):
    drafts_of(tmp_path, [content])
    with serve(ended_at_once([])) as address, pytest.raises(InputError, match=r"draft-0\.safetensors"):
        run_queue([LINE], make_review_graph(), address, tmp_path)


def test_a_damaged_record_is_named(tmp_path):
    drafts_of(tmp_path, [])
    (record,) = tmp_path.rglob("drafts.json")
    for text in ("", "[]", '{"files": 1}', '{"files": [1]}', "[" * 100_000):
        record.write_text(text)
        with pytest.raises(InputError, match=r"drafts\.json is damaged"):
            drafts_of(tmp_path, [])
