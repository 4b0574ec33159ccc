"""`--shard`: each clip is one process's, whatever happens to the others."""

import argparse
import os
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.cli_run import ROOT, list_files, read_events, run
from support.killed_run import Kill, start_killed, wait_for_kill

from flashvideo_core.cli.shard import Shard, parse_shard, read_environment

SHAPES, COLORS = ("square", "star"), ("red", "green", "blue", "white")
PROMPTS = [f"a small {color} {shape} stays still" for shape in SHAPES for color in COLORS]
SMALL = ["--frames", "1", "--height", "16", "--width", "16", "--size", "16x16", "--steps", "2", "--refine-steps", "1"]
ARRAY = {"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_COUNT": "8"}


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("\n".join([*PROMPTS, PROMPTS[0]]), "utf-8")
    return path


@given(st.lists(st.integers()), st.integers(1, 9))
def test_the_shards_together_are_the_list_and_of_almost_equal_length(items, count):
    taken = [Shard(index, count).take(items) for index in range(count)]
    assert sorted(chain.from_iterable(taken)) == sorted(items)
    assert max(map(len, taken)) - min(map(len, taken)) <= 1


def test_a_longer_list_moves_no_clip():
    assert Shard(1, 4).take(range(100))[:3] == Shard(1, 4).take(range(12))


def test_counting_from_1_covers_the_same_as_counting_from_0():
    zero, one = ({parse_shard(f"{i + first}/4") for i in range(4)} for first in (0, 1))
    assert zero == one == {Shard(i, 4) for i in range(4)}


@pytest.mark.parametrize("text", ["", "1", "5/4", "0/0", "-1/4", "1/4/2", "a/b", "0/1000001", "1.5/3"])
def test_what_is_no_shard_is_refused(text, capsys):
    code, _, err = run(capsys, "generate", "x", f"--shard={text}")
    assert code == 2 and "is no shard" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("environ", "shard"),
    [
        (ARRAY, Shard(4, 8)),
        (ARRAY | {"SLURM_ARRAY_TASK_ID": "13", "SLURM_ARRAY_TASK_STEP": "2"}, Shard(6, 8)),
        ({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}, Shard(3, 4, local_rank=1)),
        (ARRAY | {"RANK": "1", "WORLD_SIZE": "2"}, Shard(9, 16)),
    ],
)
def test_the_environment_of_slurm_and_torchrun(environ, shard):
    assert read_environment(environ) == shard


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({}, "needs the environment of a Slurm array or of torchrun"),
        (ARRAY | {"SLURM_ARRAY_TASK_ID": "9"}, "a Slurm array with gaps"),
        ({"RANK": "4", "WORLD_SIZE": "4"}, "it must be below WORLD_SIZE"),
    ],
)
def test_an_environment_that_tells_no_shard(environ, words):
    with pytest.raises(argparse.ArgumentTypeError, match=words):
        read_environment(environ)


def test_each_process_of_torchrun_takes_its_own_card(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert Shard(6, 8, local_rank=2).choose_device(None) == "cuda:2"
    assert Shard(6, 8, local_rank=2).choose_device("cpu") == "cpu"
    assert Shard(6, 8).choose_device(None) is None
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)  # all that CUDA_VISIBLE_DEVICES has left
    assert Shard(6, 8, local_rank=2).choose_device(None) is None


def test_a_shard_makes_its_clips_in_the_folders_of_a_whole_run(prompts, tmp_path, capsys):
    command = ["draft", "--prompts", prompts, *SMALL[:6], *SMALL[8:10], "--output", tmp_path / "out", "--json"]
    made = [read_events(run(capsys, *command, "--shard", f"{i}/2")[1])[-1]["drafts"] for i in range(2)]
    assert [len(clips) for clips in made] == [4, 4]
    whole = read_events(run(capsys, *command)[1])[-1]["drafts"]
    assert all(clip["skipped"] for clip in whole)
    assert {clip["path"] for clip in whole} == {clip["path"] for clips in made for clip in clips}
    sources = [str(Path(clip["path"])) for clip in whole]
    command = ["refine", *sources, "--size", "16x16", "--refine-steps", "1", "--json", "--shard"]
    made = [read_events(run(capsys, *command, f"{i}/2")[1])[-1]["clips"] for i in range(2)]
    assert [len(clips) for clips in made] == [4, 4]
    assert {Path(clip["path"]).parent for clips in made for clip in clips} == {Path(path).parent for path in sources}


def test_more_shards_than_clips_is_no_mistake(tmp_path, capsys):
    code, out, err = run(capsys, "generate", "a red ball", "--shard", "3/4", "--output", tmp_path / "c")
    assert (code, out) == (0, "") and "nothing to do" in err
    assert not (tmp_path / "c").exists()


def test_two_sources_for_one_folder_are_refused(tmp_path, capsys):
    for name in ("a/film.mp4", "b/film.mp4"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    code, _, err = run(capsys, "refine", tmp_path / "a/film.mp4", tmp_path / "b/film.mp4", "--output", tmp_path)
    assert code == 2 and "would both be refined into" in err


def test_four_shards_at_once_of_which_two_are_killed_and_started_again(prompts, tmp_path):
    """Each of the two while it samples a clip. Nothing is lost, nothing is left over, and every file has the bytes that
    one process gives it."""

    def words(folder: str, *options: str) -> list[str]:
        return ["generate", "--prompts", str(prompts), *SMALL, "--output", str(tmp_path / folder), *options]

    def start(folder: str, *options: str) -> subprocess.Popen:
        """On one thread: four processes of several on two cores wait for each other most of the time."""
        command = [sys.executable, "-m", "flashvideo_core", *words(folder, *options)]
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, **silent)

    killed = [start_killed(words("out", "--shard", f"{index}/4"), Kill("stage1", 1)) for index in range(2)]
    processes = [start("out", "--shard", f"{index}/4") for index in (2, 3)]
    try:
        for process in killed:
            wait_for_kill(process)
        assert len(list((tmp_path / "out").glob("*/.flashvideo.lock"))) >= 2
        processes += [start("out", "--shard", f"{index}/4") for index in range(2)]
        assert [process.wait(240) for process in processes] == [0] * 4
        processes.append(start("one"))
        assert processes[-1].wait(240) == 0
    finally:
        for process in [*killed, *processes]:
            process.kill()
    made = list_files(tmp_path / "out")
    assert made == list_files(tmp_path / "one") and len({Path(name).parent for name in made}) == len(PROMPTS)
    assert all((tmp_path / "out" / name).read_bytes() == (tmp_path / "one" / name).read_bytes() for name in made)
