"""The batch client against a real ComfyUI: what is queued, fetched, skipped, resumed and refused."""

import json
import socket
from pathlib import Path

import pytest
from PIL import Image
from support.comfy_server import ComfyServer
from support.queue_graph import make_review_graph

from flashvideo_core.cli.client import run_queue
from flashvideo_core.cli.queue_entry import QueueRecord
from flashvideo_core.cli.workflow import Graph, PromptLine, fill_graph
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


def save_frames(graph: Graph) -> Graph:
    """The graph, which also saves the refined frames without loss."""
    return {**graph, "png": {"class_type": "SaveImage", "inputs": {"filename_prefix": "f", "images": ["decode", 0]}}}


def frames_of(server: ComfyServer, graph: Graph) -> list[bytes]:
    """The pixels of the frames that the graph saves."""
    saved = server.complete(graph).outputs["png"]["images"]
    return [Image.open(server.base / "output" / file["subfolder"] / file["filename"]).tobytes() for file in saved]


class Samplings(list):
    """A progress callback that collects the titles of nodes whenever one has made its last step."""

    def __call__(self, title: str, step: int, total: int, preview: None) -> None:
        if step == total:
            self.append(title)


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
        assert record["files"] == ["draft-0.mp4", "draft-1.mp4", "draft-0.safetensors", "draft-1.safetensors"]
        assert all(read_video(folder / f"draft-{i}.mp4").frames.shape == (5, 32, 48, 3) for i in (0, 1))
        assert any(phase == "FlashVideoStage1" and step == total for phase, step, total, _ in steps)
        chosen = self.queue(server, tmp_path, [PromptLine("a red ball", {**line.values, "choice": 1})])[0][0]
        assert read_video(folder / chosen["files"][0]).frames.shape == (5, 64, 96, 3)
        assert {path.name for path in tmp_path.iterdir()} == {folder.name}

    def test_refining_after_several_drafts_does_not_sample_stage_1_again(self, server, tmp_path):
        """The server has kept the second prompt's results only. What comes out is what the whole graph gives."""
        graph, texts = save_frames(make_review_graph()), ("a red ball", "a blue ball")
        lines = [PromptLine(text, {"prompt": text, "choice": 1}) for text in texts]
        whole = [frames_of(server, fill_graph(graph, line, drafts=False)) for line in lines]
        server.forget()
        drafted, refined = Samplings(), Samplings()
        self.queue(server, tmp_path, lines, graph=graph, drafts=True, progress=drafted)
        records, _ = self.queue(server, tmp_path, lines, graph=graph, progress=refined)
        assert drafted.count("FlashVideoStage1") == 2 and "FlashVideoStage2" not in drafted
        assert refined.count("FlashVideoStage2") == 2 and "FlashVideoStage1" not in refined
        for text, record, frames in zip(texts, records, whole, strict=True):
            (folder,) = tmp_path.glob(f"{text.replace(' ', '-')}-*")
            pictures = [Image.open(folder / name) for name in record["files"] if name.endswith("png")]
            assert [picture.tobytes() for picture in pictures] == frames and len(frames) == 5
        assert whole[0] != whole[1]

    def test_drafts_serve_any_refinement_of_them(self, server, tmp_path):
        """Another cfg of stage 2 is another folder; its drafts lie in the one where they were made."""
        values = {"prompt": "a red ball"}
        self.queue(server, tmp_path, [PromptLine("a red ball", values)], drafts=True)
        sampled = Samplings()
        refined = PromptLine("a red ball", {**values, "FlashVideoStage2.cfg": 2.0})
        records, _ = self.queue(server, tmp_path, [refined], progress=sampled)
        assert records[0]["state"] == "done" and len(list(tmp_path.iterdir())) == 2
        assert "FlashVideoStage2" in sampled and "FlashVideoStage1" not in sampled

    def test_a_choice_that_is_no_draft_fails_alone_before_anything_is_sampled(self, server, tmp_path):
        lines = [PromptLine("a red ball", {"prompt": "a red ball"}), PromptLine("a ball", {"prompt": "a ball"})]
        self.queue(server, tmp_path, lines, drafts=True)
        lines[0].values["choice"], sampled = 9, Samplings()
        records, _ = self.queue(server, tmp_path, lines, progress=sampled)
        assert [record["state"] for record in records] == ["failed", "done"]
        assert records[0]["error"] == "choice is 9, but the drafts are 0 to 1"
        assert "FlashVideoStage1" not in sampled

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
