"""The batch client: prompt files and workflows without a server, everything else against a real ComfyUI."""

import copy
import json
import socket

import pytest
from support.comfy_models import two_stage_prompt
from support.comfyui import requires_comfyui

from flashvideo_core.cli.client import Job, fill, fingerprint, run_queue
from flashvideo_core.cli.queue import load_workflow, read_jobs
from flashvideo_core.media.video_reader import read_video

pytest.importorskip("aiohttp", reason="NO AIOHTTP: the batch client is not tested")


def graph() -> dict:
    """From a prompt to a clip, with two drafts and a review between the stages."""
    out = two_stage_prompt()
    out["stage1"]["inputs"].update(drafts=2, steps=2)
    out["look"] = {"class_type": "FlashVideoDecode", "inputs": {**out["decode"]["inputs"], "latent": ["stage1", 0]}}
    inputs = {"latent": ["stage1", 0], "images": ["look", 0], "decision": "review", "choice": 0}
    out["review"] = {"class_type": "FlashVideoReview", "inputs": inputs}
    out["handoff"]["inputs"]["latent"] = ["review", 0]
    return out


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_a_prompt_a_line_or_json(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text('a red ball\n\n  {"prompt": "a blue ball", "seed": 7}\n')
    assert read_jobs(path) == [
        Job("a red ball", {"prompt": "a red ball"}),
        Job("a blue ball", {"prompt": "a blue ball", "seed": 7}),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "no prompt"), ('x\n{"seed": 1}', "line 2.*prompt"), ('{"prompt": "x"', "line 1.*JSON")],
)
def test_unusable_prompt_files(tmp_path, text, said):
    path = tmp_path / "prompts.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        read_jobs(path)


def test_the_ui_form_is_refused(tmp_path):
    path = tmp_path / "ui.json"
    path.write_text('{"nodes": [], "links": []}')
    with pytest.raises(ValueError, match="API form"):
        load_workflow(path)


def test_values_go_to_their_places():
    job = Job("p", {"prompt": "p", "seed": 9, "choice": 1, "FlashVideoStage2.cfg": 3.0, "stage1.steps": 4})
    filled = fill(graph(), job, drafts=False)
    assert filled["text"]["inputs"]["prompt"] == "p"
    assert (filled["stage1"]["inputs"]["seed"], filled["stage2"]["inputs"]["seed"]) == (9, 9)
    assert (filled["stage1"]["inputs"]["steps"], filled["stage2"]["inputs"]["cfg"]) == (4, 3.0)
    assert (filled["review"]["inputs"]["choice"], filled["review"]["inputs"]["decision"]) == (1, "approve")
    assert fill(graph(), job, drafts=True)["review"]["inputs"]["decision"] == "review"
    assert graph()["stage1"]["inputs"]["seed"] == 1


@pytest.mark.parametrize("key", ["speed", "stage1.nothing", "Nobody.cfg", "stage1.model"])
def test_values_without_a_place_are_refused(key):
    with pytest.raises(ValueError, match=key):
        fill(graph(), Job("p", {key: 1}), drafts=False)


def test_the_choice_stays_in_the_same_folder():
    one, two = (fill(graph(), Job("p", {"choice": i}), drafts=bool(i)) for i in (0, 1))
    assert fingerprint(one) == fingerprint(two)
    assert fingerprint(fill(graph(), Job("p", {"seed": 2}), drafts=False)) != fingerprint(one)


def test_no_server(tmp_path):
    port = free_port()
    with pytest.raises(ValueError, match=f"no ComfyUI server at 127.0.0.1:{port}"):
        run_queue([Job("p", {"prompt": "p"})], graph(), f"127.0.0.1:{port}", tmp_path)


@pytest.mark.comfyui
@requires_comfyui
class TestWithServer:
    def queue(self, server, folder, jobs, **how) -> tuple[list[dict], list[str]]:
        notes = []
        records = run_queue(jobs, how.pop("graph", graph()), server.url, folder, note=notes.append, **how)
        return records, notes

    def test_drafts_first_then_the_chosen_one(self, server, tmp_path):
        steps = []
        job = Job("a red ball", {"prompt": "a red ball"})
        record = self.queue(server, tmp_path, [job], drafts=True, progress=lambda *a: steps.append(a))[0][0]
        (folder,) = tmp_path.iterdir()
        assert len(record["files"]) == 2
        assert all(read_video(folder / name).frames.shape == (5, 32, 48, 3) for name in record["files"])
        assert any(phase == "FlashVideoStage1" and step == total for phase, step, total, _ in steps)
        start = len(server.messages)
        chosen = self.queue(server, tmp_path, [Job("a red ball", {**job.values, "choice": 1})])[0][0]
        assert read_video(folder / chosen["files"][0]).frames.shape == (5, 64, 96, 3)
        assert {path.name for path in tmp_path.iterdir()} == {folder.name}
        cached = [m["data"]["nodes"] for m in server.messages[start:] if m["type"] == "execution_cached"]
        assert cached == [] or "stage1" in cached[0]

    def test_done_is_skipped_and_lost_files_are_fetched_again(self, server, tmp_path):
        jobs = [Job(text, {"prompt": text}) for text in ("a blue square", "a green ball")]
        records, _ = self.queue(server, tmp_path, jobs)
        assert [record["state"] for record in records] == ["done", "done"]
        again, notes = self.queue(server, tmp_path, jobs)
        assert again == records
        assert all(note.endswith("done before") for note in notes)
        clip = next(tmp_path.glob("a-blue*/*.mp4"))
        content = clip.read_bytes()
        clip.unlink()
        self.queue(server, tmp_path, jobs)
        assert clip.read_bytes() == content

    def test_goes_on_with_what_is_queued(self, server, tmp_path):
        """As after a crash of the client: the record says queued, the server has finished meanwhile."""
        job = Job("a red square", {"prompt": "a red square"})
        records, _ = self.queue(server, tmp_path, [job])
        path = next(tmp_path.rglob("clip-0.json"))
        saved = json.loads(path.read_text())
        path.write_text(json.dumps({**saved, "state": "queued", "files": []}))
        for clip in tmp_path.rglob("*.mp4"):
            clip.unlink()
        again, _ = self.queue(server, tmp_path, [job])
        assert again[0]["prompt_id"] == records[0]["prompt_id"]
        assert len(list(tmp_path.rglob("*.mp4"))) == 1

    def test_a_missing_node_is_named(self, server, tmp_path):
        strange = graph()
        strange["save"]["class_type"] = "NoSuchNode"
        with pytest.raises(ValueError, match="NoSuchNode"):
            self.queue(server, tmp_path, [Job("p", {"prompt": "p"})], graph=strange)

    def test_refused_values_are_named(self, server, tmp_path):
        with pytest.raises(ValueError, match=r"FlashVideoStage1.*steps"):
            self.queue(server, tmp_path, [Job("p", {"stage1.steps": -1})])

    def test_one_failure_leaves_the_others(self, server, tmp_path):
        jobs = [Job("a ball", {"prompt": "a ball", "choice": 9}), Job("a square", {"prompt": "a square"})]
        records, _ = self.queue(server, tmp_path, jobs)
        assert [record["state"] for record in records] == ["failed", "done"]
        assert "choice is 9" in records[0]["error"]


def test_graphs_are_not_changed():
    before = graph()
    kept = copy.deepcopy(before)
    fill(before, Job("p", {"prompt": "other"}), drafts=False)
    assert before == kept
