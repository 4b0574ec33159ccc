"""The batch client on two real servers, of which one is killed: each clip once, the frames those of one server."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from support.comfy_models import two_stage_prompt, write_small_models
from support.comfy_server import ComfyServer
from support.queue_graph import make_review_graph

from flashvideo_core.cli.client import run_queue
from flashvideo_core.cli.queue_entry import QueueRecord
from flashvideo_core.cli.servers import run_on_servers
from flashvideo_core.cli.workflow import Graph, PromptLine

pytest.importorskip("aiohttp", reason="NO AIOHTTP: the batch client is not tested")
pytestmark = pytest.mark.comfyui

TEXTS = ("a red ball", "a blue ball", "a green ball", "a red square", "a blue square", "a green square")
NOBODY = "127.0.0.1:9"  # an address that is refused
LINES = [PromptLine(text, {"prompt": text}) for text in TEXTS]


@pytest.fixture
def mortal(tmp_path) -> Iterator[ComfyServer]:
    """A server of its own: it will be killed."""
    write_small_models(tmp_path / "base" / "models")
    with ComfyServer(base=tmp_path / "base") as running:
        yield running


def save_frames(graph: Graph) -> Graph:
    """The graph, which saves the refined frames without loss in place of the video."""
    kept = {name: node for name, node in graph.items() if name != "save"}
    inputs = {"filename_prefix": "f", "images": ["decode", 0]}
    return {**kept, "png": {"class_type": "SaveImage", "inputs": inputs}}


def frames_of(folder: Path, records: list[QueueRecord]) -> dict[str, list[bytes]]:
    """The pixels of each prompt's frames. Every prompt has one folder, in which nothing but its files lie."""
    frames = {}
    for record in records:
        assert record["state"] == "done", record
        (own,) = folder.glob(f"{record['prompt'].replace(' ', '-')}-*")
        assert {path.name for path in own.glob("*.png")} == set(record["files"])
        frames[record["prompt"]] = [Image.open(own / name).tobytes() for name in sorted(record["files"])]
    assert len(list(folder.iterdir())) == len(records)
    return frames


def host(server: ComfyServer) -> str:
    return server.url.partition("://")[2]


def test_one_of_two_is_killed_half_way(server, mortal, tmp_path):
    graph, notes = save_frames(two_stage_prompt()), []
    alone = frames_of(tmp_path / "one", run_queue(LINES, graph, server.url, tmp_path / "one"))
    server.forget()

    def kill_after_its_first(text: str) -> None:
        notes.append(text)
        if text.startswith(f"{host(mortal)}: ") and ".png" in text:
            mortal.process.kill()

    servers = [mortal.url, server.url]
    records = run_on_servers(LINES, graph, servers, tmp_path / "two", note=kill_after_its_first)
    assert frames_of(tmp_path / "two", records) == alone
    assert all(len(frames) == 5 for frames in alone.values()) and len({tuple(f) for f in alone.values()}) == len(TEXTS)
    made = [note.partition(": ")[0] for note in notes if ".png" in note]
    assert made.count(host(mortal)) == 1 and made.count(host(server)) == 5
    assert any(note.startswith(f"{host(mortal)}: is gone") and "go back to the list" in note for note in notes)


def test_drafts_are_refined_on_the_server_that_is_left(server, mortal, tmp_path):
    """The one that made them is killed before, and the other has made none."""
    graph, lines, notes = save_frames(make_review_graph()), LINES[:2], []
    alone = frames_of(tmp_path / "one", run_queue(lines, graph, server.url, tmp_path / "one"))
    server.forget()
    run_queue(lines, graph, mortal.url, tmp_path / "two", drafts=True)
    mortal.process.kill()
    mortal.process.wait()
    records = run_on_servers(lines, graph, [mortal.url, server.url], tmp_path / "two", note=notes.append)
    assert frames_of(tmp_path / "two", records) == alone
    for prompt_id in [record["prompt_id"] for record in records]:
        graph = server.get(f"/history/{prompt_id}")[prompt_id]["prompt"][2]
        assert graph["review"]["class_type"] == "LatentFromBatch"  # of the latents that were sent
    assert any(note.startswith(f"{host(mortal)}: is gone") for note in notes)


def test_a_server_that_is_started_again_goes_on(mortal, tmp_path):
    """Killed after its first clip and started on the same port: it has lost its queue."""
    graph, notes, gone = save_frames(two_stage_prompt()), [], f"{host(mortal)}: is gone"

    def note(text: str) -> None:
        first = ".png" in text and not any(".png" in earlier for earlier in notes)
        notes.append(text)
        if first:
            mortal.process.kill()
            mortal.process.wait()
        if text.startswith(gone):
            mortal.start()

    records = run_on_servers(LINES[:4], graph, [mortal.url, NOBODY], tmp_path / "clips", note=note)
    assert set(frames_of(tmp_path / "clips", records)) == set(TEXTS[:4])
    assert sum(text.startswith(gone) for text in notes) == 1
