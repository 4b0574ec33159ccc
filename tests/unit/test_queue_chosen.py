"""`queue --chosen`: drafts that were made here are refined by a ComfyUI server."""

import json

import pytest
from support.cli_run import component_options, read_events, run
from support.queue_graph import make_review_graph

from flashvideo_core.media.video_reader import read_video

pytest.importorskip("aiohttp", reason="NO AIOHTTP: the batch client is not tested")
DRAFT = ["--frames", "5", "--height", "32", "--width", "48", "--steps", "3"]


@pytest.mark.comfyui
def test_drafts_of_the_command_line_are_refined_by_a_server(server, tmp_path, capsys):
    components = component_options(tmp_path)
    made = [
        "draft",
        "a red ball",
        "--samples",
        "2",
        "--seed",
        "5",
        *components,
        *DRAFT,
        "--output",
        tmp_path / "drafts",
    ]
    assert run(capsys, *made)[0] == 0
    names = sorted(path.parent.name for path in tmp_path.glob("drafts/*/draft.safetensors"))
    chosen, workflow = tmp_path / "drafts/chosen.jsonl", tmp_path / "workflow.json"
    chosen.write_text("\n".join(json.dumps({"draft": f"{name}/draft.safetensors"}) for name in names))
    workflow.write_text(json.dumps(make_review_graph()))
    command = [
        "queue",
        "--chosen",
        chosen,
        "--workflow",
        workflow,
        "--server",
        server.url,
        "--output",
        tmp_path / "out",
    ]
    code, out, _ = run(capsys, *command, "--json")
    *events, result = read_events(out)
    assert code == 0 and [clip["state"] for clip in result["clips"]] == ["done", "done"]
    sampled = {event["phase"] for event in events if event["event"] == "progress"}
    assert "FlashVideoStage2" in sampled and "FlashVideoStage1" not in sampled
    clips = [read_video(path).frames for path in tmp_path.glob("out/*/*.mp4")]
    assert [clip.shape for clip in clips] == [(5, 64, 96, 3)] * 2 and not clips[0].equal(clips[1])
    assert run(capsys, *command)[2].count("done before") == 2
