"""One list of prompts on several servers that answer as ComfyUI does: who takes what, who is lost, who returns."""

import asyncio
import io
import json
import os
import signal
import threading
import time
from contextlib import ExitStack

import pytest
from support.answering_server import ended_at_once, serve, web
from support.queue_graph import make_review_graph
from support.working_server import Comfy, check_once, run

from flashvideo_core.cli import queue, servers, work_list
from flashvideo_core.cli.main import terminable
from flashvideo_core.cli.parser import build_parser
from flashvideo_core.cli.progress import Reporter
from flashvideo_core.errors import InputError

NOBODY = "127.0.0.1:9"  # an address that is refused: with one more, a list is for several servers


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(servers, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(servers, "MAX_RETRY_SECONDS", 0.2)


@pytest.fixture
def start():
    """Starts servers that end with the test, and returns their addresses."""
    with ExitStack() as stack:

        def start_all(*comfys: Comfy) -> list[str]:
            for comfy in comfys:
                stack.callback(comfy.stop)
            return [comfy.start() for comfy in comfys]

        yield start_all


def test_whoever_is_quicker_takes_more(start, tmp_path):
    quick, slow = Comfy("quick"), Comfy("slow", is_stuck=True)
    hooks = {"4 of 6": lambda: setattr(slow, "is_stuck", False)}
    records, notes = run(start(quick, slow), tmp_path, hooks=hooks)
    check_once(tmp_path, records)
    assert (len(quick.ended), quick.most, len(slow.ended), slow.most) == (4, 2, 2, 2)
    assert any("6 of 6 in" in note for note in notes)


def test_what_a_lost_server_had_is_made_by_the_others(start, tmp_path):
    lost, other = Comfy("lost", is_stuck=True), Comfy("other")
    addresses = start(lost, other)
    hooks = {"4 of 6": lost.stop_soon}
    records, notes = run(addresses, tmp_path, hooks=hooks)
    check_once(tmp_path, records)
    assert len(lost.bodies) == 2 and len(other.ended) == 6
    assert any(note.startswith(f"{addresses[0]}: is gone") and "2 of its prompts go back" in note for note in notes)


def test_a_server_that_returns_is_used_again(start, tmp_path):
    """It still had its prompts, and nobody else has taken them: it goes on with them."""
    comfy = Comfy("back", seconds=0.1)
    addresses = [*start(comfy), NOBODY]
    gone = f"{addresses[0]}: is gone"
    hooks = {"2 of 6": comfy.stop_soon, gone: lambda: threading.Timer(0.3, comfy.start).start()}
    records, notes = run(addresses, tmp_path, hooks=hooks)
    check_once(tmp_path, records)
    assert len(comfy.bodies) == 6  # none was queued twice
    assert sum(note.startswith(gone) for note in notes) == 1


def test_a_server_that_returns_drops_what_others_have_taken(start, tmp_path):
    back, other = Comfy("back", is_stuck=True), Comfy("other")
    addresses = start(back, other)

    def stop():
        other.is_stuck = True
        back.stop_soon()

    def go_on():
        other.is_stuck = False

    def restart():
        """By now the other one has taken everything."""
        other.is_stuck = True
        back.start()

    leave = "2 of its prompts were taken by others and leave its queue"
    hooks = {"1 of 6": stop, "is gone": go_on, "4 of 6": restart, leave: go_on}
    records, notes = run(addresses, tmp_path, hooks=hooks)
    check_once(tmp_path, records)
    assert back.pending == back.ended == [] and f"{addresses[0]}: {leave}" in notes


def is_full(comfy: Comfy) -> bool:
    return len(comfy.pending) == servers.QUEUED_EACH


def interrupt_when(ready, number: int, before=lambda: None) -> None:
    """A signal to this process, once ready() is true."""

    def wait():
        while not ready():
            time.sleep(0.01)
        before()
        os.kill(os.getpid(), number)

    threading.Thread(target=wait, daemon=True).start()


def test_the_prompts_of_an_earlier_run_are_found_where_they_are(start, tmp_path):
    """The client was stopped; the second server has had its prompts done meanwhile."""
    first, second = Comfy("first", is_stuck=True), Comfy("second", is_stuck=True)
    addresses = start(first, second)
    with terminable(), pytest.raises(KeyboardInterrupt, match="0 of 6 done, 4 still with the servers"):
        interrupt_when(lambda: is_full(first) and is_full(second), signal.SIGINT)
        run(addresses, tmp_path)
    first.is_stuck = second.is_stuck = False
    second.ended, second.pending = second.pending, []
    records, _ = run(addresses, tmp_path)
    check_once(tmp_path, records)
    assert len(first.bodies) + len(second.bodies) == 6


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_fetches_what_has_ended_on_each(start, tmp_path, number):
    comfys = [Comfy("a", is_stuck=True), Comfy("b", is_stuck=True)]

    def end_first():
        for comfy in comfys:
            comfy.ended.append(comfy.pending.pop(0))

    addresses = start(*comfys)
    with terminable(), pytest.raises(KeyboardInterrupt, match="2 of 6 done, 2 still with the servers"):
        interrupt_when(lambda: all(map(is_full, comfys)), number, end_first)
        run(addresses, tmp_path)
    assert len(list(tmp_path.rglob("*.mp4"))) == 2


def test_a_refused_line_fails_alone_and_is_asked_once(start, tmp_path):
    asked = []

    class Strict(Comfy):
        async def prompt(self, request):
            body = await request.json()
            if body["prompt"]["text"]["inputs"]["prompt"] != "three":
                return await super().prompt(request)
            asked.append(body)
            return web.json_response({"error": {"message": "no such word"}, "node_errors": {}}, status=400)

    records, _ = run(start(Strict("a"), Strict("b")), tmp_path)
    assert [record["state"] for record in records] == ["done", "done", "failed", "done", "done", "done"]
    assert records[2]["error"] == "no such word" and len(asked) == 1


async def a_web_page(request):
    return web.Response(text="<html>404</html>", status=404, content_type="text/html")


async def without_the_pack(request):
    error = {"type": "missing_node_type", "message": "FlashVideoStage1 not found"}
    return web.json_response({"error": error, "node_errors": {}}, status=400)


@pytest.mark.parametrize("changes", [{"/ws": a_web_page}, {"/queue": a_web_page}, {"/prompt": without_the_pack}])
def test_what_cannot_be_used_is_left_out(start, tmp_path, changes):
    with serve(ended_at_once([]) | changes) as other:
        records, notes = run([other, *start(Comfy("a"))], tmp_path)
        check_once(tmp_path, records)
        assert sum(f"{other}: is not used any more" in note for note in notes) == 1
        with pytest.raises(InputError, match=r"none of the servers can be used: .*go on"):
            run([other, other.replace("127.0.0.1", "localhost")], tmp_path / "again")


def test_no_server_answers(tmp_path):
    with pytest.raises(
        InputError, match=r"none of the servers can be used: 127\.0\.0\.1:9: .*; localhost:9: "
    ) as error:
        run([NOBODY, "localhost:9"], tmp_path)
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


def test_none_for_too_long(start, tmp_path, monkeypatch):
    monkeypatch.setattr(work_list, "ALONE_SECONDS", 0.3)
    comfy = Comfy("a")
    hooks = {"2 of 6": comfy.stop_soon}
    with pytest.raises(InputError, match="none of the servers can be used"):
        run([*start(comfy), NOBODY], tmp_path, hooks=hooks)
    assert 2 <= len(list(tmp_path.rglob("*.mp4"))) < 6


def test_a_prompt_that_ends_every_server_is_given_up(start, tmp_path):
    """Each time the server forgets everything, as one that was killed for its memory and started again."""

    class Fragile(Comfy):
        async def work(self, out):
            while True:
                await asyncio.sleep(self.seconds)
                if self.pending and self.texts(self.pending[:1]) == ["two"]:
                    self.pending.clear()
                    await out.close()
                elif self.pending:
                    self.ended.append(self.pending.pop(0))
                    await out.send_json({"type": "executing", "data": {"node": None, "prompt_id": self.ended[-1]}})

    comfy = Fragile("a")
    records, _ = run([*start(comfy), NOBODY], tmp_path)
    assert [record["state"] for record in records] == ["done", "failed", "done", "done", "done", "done"]
    assert records[1]["error"] == "3 times a server went away while it had this prompt"
    assert comfy.texts(list(comfy.bodies)).count("two") == 3


def test_drafts_of_one_server_are_refined_on_another(start, tmp_path):
    first, second = Comfy("first"), Comfy("second")
    run([*start(first), NOBODY], tmp_path, drafts=True)
    first.stop()
    records, _ = run([f"127.0.0.1:{first.port}", *start(second)], tmp_path)
    assert [record["state"] for record in records] == ["done"] * 6
    graphs = [body["prompt"] for body in second.bodies.values()]
    assert all(graph["review"]["class_type"] == "LatentFromBatch" for graph in graphs) and len(graphs) == 6
    assert second.uploaded["image"].filename.endswith(".latent")


def test_done_before(start, tmp_path):
    comfy = Comfy("a")
    addresses = [*start(comfy), NOBODY]
    records, _ = run(addresses, tmp_path)
    again, notes = run(addresses, tmp_path)
    assert again == records and len(comfy.bodies) == 6
    assert all(note.endswith("done before") for note in notes) and len(notes) == 6


def test_the_option(start, tmp_path):
    """Once as before, again for several; one address twice is one server."""
    (address,) = start(Comfy("a"))
    prompts, graph = tmp_path / "prompts.txt", tmp_path / "graph.json"
    prompts.write_text("one\ntwo\n")
    graph.write_text(json.dumps(make_review_graph()))
    for number, given in enumerate(([], [address], [address, f"http://{address}/"])):
        options = [option for value in given for option in ("--server", value)]
        args = ["queue", *options, str(prompts), "--workflow", str(graph), "--output", str(tmp_path / str(number))]
        parsed = build_parser().parse_args(args)
        assert parsed.server == (given or None)
        if given:
            queue.run(parsed, Reporter(io.StringIO(), io.StringIO()))
            assert len(list((tmp_path / str(number)).rglob("one-a.mp4"))) == 1
