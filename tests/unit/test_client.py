"""The batch client against a real ComfyUI: what is queued, fetched, skipped, resumed and refused."""

import json
import socket
from pathlib import Path

import pytest
from support.comfy_server import ComfyServer
from support.queue_graph import make_review_graph

from flashvideo_core.cli.client import run_queue
from flashvideo_core.cli.queue_entry import QueueRecord
from flashvideo_core.cli.workflow import Graph, PromptLine
from flashvideo_core.media.video_reader import read_video

pytest.importorskip("aiohttp", reason="NO AIOHTTP: the batch client is not tested")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_no_server(tmp_path):
    port = free_port()
    with pytest.raises(ValueError, match=f"no ComfyUI server at 127.0.0.1:{port}"):
        run_queue([PromptLine("p", {"prompt": "p"})], make_review_graph(), f"127.0.0.1:{port}", tmp_path)


@pytest.mark.comfyui
class TestWithServer:
    def queue(
        self, server: ComfyServer, folder: Path, lines: list[PromptLine], graph: Graph | None = None, **options
    ) -> tuple[list[QueueRecord], list[str]]:
        """The records and the notes."""
        notes = []
        graph = graph or make_review_graph()
        return run_queue(lines, graph, server.url, folder, note=notes.append, **options), notes

    def test_drafts_first_then_the_chosen_one(self, server, tmp_path):
        steps = []
        line = PromptLine("a red ball", {"prompt": "a red ball"})
        record = self.queue(server, tmp_path, [line], drafts=True, progress=lambda *a: steps.append(a))[0][0]
        (folder,) = tmp_path.iterdir()
        assert len(record["files"]) == 2
        assert all(read_video(folder / name).frames.shape == (5, 32, 48, 3) for name in record["files"])
        assert any(phase == "FlashVideoStage1" and step == total for phase, step, total, _ in steps)
        start = len(server.messages)
        chosen = self.queue(server, tmp_path, [PromptLine("a red ball", {**line.values, "choice": 1})])[0][0]
        assert read_video(folder / chosen["files"][0]).frames.shape == (5, 64, 96, 3)
        assert {path.name for path in tmp_path.iterdir()} == {folder.name}
        cached = [m["data"]["nodes"] for m in server.messages[start:] if m["type"] == "execution_cached"]
        assert cached == [] or "stage1" in cached[0]

    def test_done_is_skipped_and_lost_files_are_fetched_again(self, server, tmp_path):
        lines = [PromptLine(text, {"prompt": text}) for text in ("a blue square", "a green ball")]
        records, _ = self.queue(server, tmp_path, lines)
        assert [record["state"] for record in records] == ["done", "done"]
        again, notes = self.queue(server, tmp_path, lines)
        assert again == records
        assert all(note.endswith("done before") for note in notes)
        clip = next(tmp_path.glob("a-blue*/*.mp4"))
        content = clip.read_bytes()
        clip.unlink()
        self.queue(server, tmp_path, lines)
        assert clip.read_bytes() == content

    def test_goes_on_with_what_is_queued(self, server, tmp_path):
        """As after a crash of the client: the record says queued, the server has finished meanwhile."""
        line = PromptLine("a red square", {"prompt": "a red square"})
        records, _ = self.queue(server, tmp_path, [line])
        path = next(tmp_path.rglob("clip-0.json"))
        saved = json.loads(path.read_text())
        path.write_text(json.dumps({**saved, "state": "queued", "files": []}))
        for clip in tmp_path.rglob("*.mp4"):
            clip.unlink()
        again, _ = self.queue(server, tmp_path, [line])
        assert again[0]["prompt_id"] == records[0]["prompt_id"]
        assert len(list(tmp_path.rglob("*.mp4"))) == 1

    def test_a_missing_node_is_named(self, server, tmp_path):
        strange = make_review_graph()
        strange["save"]["class_type"] = "NoSuchNode"
        with pytest.raises(ValueError, match="NoSuchNode"):
            self.queue(server, tmp_path, [PromptLine("p", {"prompt": "p"})], graph=strange)

    def test_refused_values_are_named(self, server, tmp_path):
        with pytest.raises(ValueError, match=r"FlashVideoStage1.*steps"):
            self.queue(server, tmp_path, [PromptLine("p", {"stage1.steps": -1})])

    def test_one_failure_leaves_the_others(self, server, tmp_path):
        lines = [
            PromptLine("a ball", {"prompt": "a ball", "choice": 9}),
            PromptLine("a square", {"prompt": "a square"}),
        ]
        records, _ = self.queue(server, tmp_path, lines)
        assert [record["state"] for record in records] == ["failed", "done"]
        assert "choice is 9" in records[0]["error"]
