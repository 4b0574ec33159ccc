"""What is refused before any work: numbers, paths and texts that would otherwise be found at the end, or never."""

import argparse
import logging

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from support.cli_run import STAGE1, list_files, run

from flashvideo_core.cli.components import Components
from flashvideo_core.cli.progress import warnings_to
from flashvideo_core.errors import InputError
from flashvideo_core.handoff import prepare_reference
from flashvideo_core.text import find_word_ids


@pytest.fixture(autouse=True)
def no_work(monkeypatch):
    """Loading the weights is the first thing that takes time: nothing refused may come so far."""

    def load(self, callback):
        raise KeyboardInterrupt("the work began")

    monkeypatch.setattr(Components, "load", load)


def refused(capsys, *argv) -> str:
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "") and err.startswith("error: ") and err.count("\n") == 1, err
    return err


SURROGATE = "bad\udcff bytes"
OPTIONS = {
    "samples is 100000000; it must be at most 10000": ["--samples", "100000000"],
    "argument --output: it is empty": ["--output", ""],
    "device cpu:7 cannot be used: there is one CPU": ["--device", "cpu:7"],
    "seed is -1; it must be 0 to 18446744073709551615": ["--seed", "-1"],
    "seed is 18446744073709551616; it must be 0": ["--seed", str(2**64)],
    "seed is -5; it must be 0": ["--refine-seed", "-5"],
    "the negative prompt is no text in UTF-8: its character 4": ["--negative", SURROGATE],
    "shift is nan; it must be": ["--shift", "nan"],
    "crf is nan; it must be": ["--crf", "nan"],
}


@pytest.mark.parametrize(("rule", "options"), OPTIONS.items(), ids=OPTIONS)
def test_options_of_generate(rule, options, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert rule in refused(capsys, "generate", "a red ball", *options)
    assert list_files(tmp_path) == set()


def test_a_prompt_that_is_no_text(tmp_path, capsys):
    message = refused(capsys, "generate", SURROGATE, "--output", tmp_path / "c")
    assert "the prompt is no text in UTF-8: its character 4 cannot be read" in message


@pytest.mark.parametrize("name", ["final.mp4", "draft.safetensors", "clip.json"])
def test_a_folder_where_a_file_is_to_be(name, tmp_path, capsys):
    (tmp_path / name).mkdir()
    for command in ("generate", "draft"):
        assert f"{tmp_path / name} is a folder" in refused(capsys, command, "a red ball", "--output", tmp_path)


OTHERS = {
    "--lora-strength is for a LoRA": ["convert", STAGE1, "out.safetensors", "--lora-strength", "0.5"],
    "the strength of the LoRA is nan": ["convert", STAGE1, "o.safetensors", "--lora", STAGE1, "--lora-strength", "nan"],
    "threads is 0; it must be at least 1": ["bench", "--threads", "0"],
    "threads is -4; it must be at least 1": ["bench", "--threads", "-4"],
    "cannot write into the folder file": ["bench", "--growth", "file/growth.png", "--size", "narrow"],
    "folder is a folder; name the file": ["bench", "--growth", "folder", "--size", "narrow"],
    "argument --growth: it is empty": ["bench", "--growth", ""],
    "argument --folder: it is empty": ["train", "tiny", "--folder", ""],
    "--frames is for videos; draft.safetensors is a draft, of which all 5": [
        "refine",
        "draft.safetensors",
        "--frames",
        "5",
    ],
    "draft.safetensors is a draft, which is no clip yet": ["generate", "--from", "draft.safetensors"],
}


@pytest.mark.parametrize(("rule", "argv"), OTHERS.items(), ids=OTHERS)
def test_other_commands(rule, argv, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("flashvideo_core.cli.bench.check_can_plot", lambda: None)
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder").mkdir()
    save_file({"latent_tensor": torch.zeros(1, 16, 2, 2, 2)}, tmp_path / "draft.safetensors")
    assert rule in refused(capsys, *argv).replace(f"{tmp_path}/", "")
    assert list_files(tmp_path) == {"file", "draft.safetensors"}


NUMBERS = ["--seed", "--refine-seed", "--samples", "--frames", "--height", "--width", "--steps", "--refine-steps"]
NUMBERS += ["--cfg", "--refine-cfg", "--shift", "--noise-step", "--crf"]
VALUES = st.integers() | st.floats() | st.integers(0, 100) | st.text(st.characters(codec="utf-8"), max_size=4)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(NUMBERS), VALUES, min_size=1, max_size=3))
def test_any_number_is_refused_in_one_line_or_the_work_begins(tmp_path, capsys, options):
    words = [f"{name}={value}" for name, value in options.items()]
    samples = [] if "--samples" in options else ["--samples", "1"]
    code, _, err = run(capsys, "generate", "a red ball", *words, *samples, "--output", tmp_path / "c")
    assert code in (2, 130) and "Traceback" not in err
    if code == 2:
        assert err.splitlines()[-1].startswith("error: ")
    assert list_files(tmp_path) == set()


@pytest.mark.parametrize("given_", ["z", "frames"])
def test_the_hand_off_names_what_holds_nan(given_, vae):
    source = {"z": torch.zeros(1, 16, 1, 2, 2), "frames": torch.zeros(1, 3, 1, 16, 16)}[given_]
    source.view(-1)[3] = torch.nan
    name = {"z": "latent", "frames": "clip"}[given_]
    with pytest.raises(InputError, match=f"the {name} that is handed off holds NaN"):
        prepare_reference(vae=vae, size=(16, 16), **{given_: source})


def test_the_end_of_a_long_prompt_is_said_once():
    said = []
    reporter = argparse.Namespace(note=said.append)
    with warnings_to(reporter):
        for prompt in ("red ball", "red ball moves", "red ball moves"):
            ids, _ = find_word_ids(prompt, {"red": 1, "ball": 2, "moves": 3}, 2)
            assert ids == [1, 2]
    assert said == ["the text encoder reads 2 words: the prompt's end is dropped: ...red ball moves"]
    assert not logging.getLogger("flashvideo_core").handlers
