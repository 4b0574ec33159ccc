"""The embedded model on the command line: made with nothing but a prompt, trained, interrupted."""

import json
from pathlib import Path

import pytest
from support.cli_run import interrupt_when, list_files, read_events, run

from flashvideo_core.components import COMPONENTS, TINY
from flashvideo_core.media.video_reader import read_video
from flashvideo_core.pipeline import load_pipeline

embedded = pytest.mark.skipif(
    not all((TINY / f"{name}.safetensors").exists() for name in COMPONENTS),
    reason="the embedded weights are not there yet",
)
SHORT = ["--frames", "5", "--steps", "4", "--size", "128x192", "--refine-steps", "2"]


@embedded
def test_a_prompt_is_all_it_needs(tmp_path, capsys):
    code, out, err = run(capsys, "generate", "a red circle moves left", *SHORT, "--output", tmp_path / "c")
    assert (code, out) == (0, f"{tmp_path / 'c/final.mp4'}\n"), err
    record = json.loads((tmp_path / "c/clip.json").read_text())
    assert record["paths"] == {} and {known["file"] for known in record["weights"].values()} == {"embedded"}
    config = load_pipeline(device="cpu").stage1.config.defaults
    assert (record["stage1"]["height"], record["stage1"]["width"]) == config.size
    assert record["stage1"]["cfg"] == config.cfg
    assert read_video(tmp_path / "c/final.mp4").frames.shape == (5, 128, 192, 3)
    code, _, err = run(capsys, "generate", "--from", tmp_path / "c", "--output", tmp_path / "again")
    assert code == 0, err
    for name in list_files(tmp_path / "c") - {"clip.json"}:
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "c" / name).read_bytes()


@embedded
def test_an_unknown_word_is_named_once(tmp_path, capsys):
    small = ["--frames", "1", "--steps", "2", "--output", tmp_path / "c"]
    _, _, err = run(capsys, "draft", "a red zebra circle", *small)
    assert err.count("zebra") == 1 and "red" not in err.replace("a red", "")


@embedded
def test_a_negative_prompt_changes_the_draft(tmp_path, capsys):
    small = ["draft", "a red circle", "--frames", "1", "--steps", "2"]
    run(capsys, *small, "--output", tmp_path / "without")
    run(capsys, *small, "--negative", "a blue star", "--output", tmp_path / "with")
    without, there = ((tmp_path / name / "draft.mp4").read_bytes() for name in ("without", "with"))
    assert without != there


@embedded
def test_a_negative_prompt_of_the_refinement_alone_is_repeated(tmp_path, capsys):
    """The draft was made without it, so a draft made anew must be, too."""
    small = ["--frames", "1", "--steps", "2"]
    assert run(capsys, "draft", "a red circle", *small, "--output", tmp_path / "c")[0] == 0
    refine = ["refine", tmp_path / "c", "--negative", "a blue star", "--size", "64x96", "--refine-cfg", "3"]
    assert run(capsys, *refine)[0] == 0
    record = json.loads((tmp_path / "c/clip.json").read_text())
    assert (record["stage1"]["negative"], record["stage2"]["negative"]) == (None, "a blue star")
    code, _, err = run(capsys, "generate", "--from", tmp_path / "c", "--output", tmp_path / "again")
    assert code == 0, err
    for name in list_files(tmp_path / "c") | list_files(tmp_path / "again"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "c" / name).read_bytes()


@embedded
def test_info_names_the_embedded_files(capsys):
    code, out, _ = run(capsys, "info", *(TINY / f"{name}.safetensors" for name in COMPONENTS), "--json")
    found = [facts["kind"] for facts in read_events(out)[-1]["files"].values()]
    assert code == 0 and found == ["transformer of stage 1", "transformer of stage 2", "VAE", "text encoder"]


def test_training_is_interrupted_in_one_line_and_says_how_to_go_on(tmp_path):
    folder = tmp_path / "run"
    command = ["train", "tiny", "--folder", str(folder)]
    code, err = interrupt_when(command, tmp_path / "err", "\n0,", watched=folder / "image" / "loss.csv")
    assert code == 130
    assert err.splitlines()[-1] == f"interrupted: the same command goes on from the last state in {folder}"
    assert "Traceback" not in err
    assert not list(Path(folder).glob("*.safetensors"))
