"""`--match-color` and the drift of a clip: in the record, in what is said, and in the frames."""

import json
from pathlib import Path

import pytest
from support.cli_run import SMALL, component_options, run

from flashvideo_core.cli.clip_writer import ADVICE
from flashvideo_core.media.video_reader import read_video

PROMPT = "a red ball moves left"


@pytest.fixture(scope="module")
def components(tmp_path_factory) -> list[str]:
    return component_options(tmp_path_factory.mktemp("components"))


def read(folder: Path) -> dict:
    return json.loads((folder / "clip.json").read_text("utf-8"))


def test_a_clip_says_how_far_it_is_from_its_draft_and_takes_its_colours_back(components, tmp_path, capsys):
    """Random weights make noise of every draft, so there is much to take back."""
    folder = tmp_path / "clip"
    _, _, err = run(capsys, "generate", PROMPT, *components, *SMALL, "--output", folder)
    plain, frames = read(folder), read_video(folder / "final.mp4").frames
    assert plain["drift"]["low"] > 10 and ADVICE in err
    assert "match" not in plain["stage2"]
    video = json.loads(read_video(folder / "final.mp4", max_frames=1).metadata["flashvideo"])
    assert video["drift"] == plain["drift"]

    code, _, err = run(capsys, "generate", PROMPT, *components, *SMALL, "--match-color", "low", "--output", folder)
    matched = read(folder)
    assert code == 0 and "going on from the finished draft" in err
    assert matched["stage2"] == plain["stage2"] | {"match": "low"}
    assert matched["drift"]["low"] < 0.3 * plain["drift"]["low"]
    assert not (read_video(folder / "final.mp4").frames == frames).all()
    before = (folder / "clip.json").read_bytes()
    _, _, err = run(capsys, "generate", "--from", folder, "--output", folder)
    assert "already finished" in err and (folder / "clip.json").read_bytes() == before
