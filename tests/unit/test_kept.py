"""Measurements that are kept: an evaluation goes on where it was stopped, and never with those of another model."""

import json
from dataclasses import replace

import pytest
import torch

from flashvideo_core.components import Pipeline
from flashvideo_core.errors import InputError
from flashvideo_core.tiny.held_out import sample_held_out
from flashvideo_core.tiny.kept import Task, open_folder, run_tasks


@pytest.fixture
def pipe(tmp_path):
    """A pipeline of two files, which nothing runs."""
    files = {name: tmp_path / f"{name}.safetensors" for name in ("stage1", "vae")}
    for name, path in files.items():
        path.write_text(name)
    return Pipeline(None, None, None, None, files=files)


def count_runs(*names):
    """Tasks of two phases, and how often each was measured."""
    runs = dict.fromkeys(names, 0)

    def measure(name):
        runs[name] += 1
        return {"name": name, "value": 0.1 + len(name)}

    tasks = [Task(name, lambda name=name: measure(name)) for name in names]
    return {"first": tasks[:2], "second": tasks[2:]}, runs


def open_at(folder, pipe, seed=1, **options):
    open_folder(folder, pipe, sample_held_out(2, seed), options)


def test_a_stopped_evaluation_goes_on_and_finds_the_same(pipe, tmp_path):
    folder, (tasks, runs) = tmp_path / "out", count_runs("a", "b", "c")
    open_at(folder, pipe, sweep=(1, 2))
    seen = []

    def stop_at_the_second(*what):
        seen.append(what)
        if what[:2] == ("first", 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_tasks(tasks, folder, stop_at_the_second)
    assert runs == {"a": 1, "b": 1, "c": 0} and seen[0] == ("first", 1, 2, None)
    open_at(folder, pipe, sweep=(1, 2))
    assert run_tasks(tasks, folder) == run_tasks(count_runs("a", "b", "c")[0])
    assert runs == {"a": 1, "b": 1, "c": 1}


def test_what_was_being_measured_leaves_nothing(pipe, tmp_path):
    open_at(tmp_path / "out", pipe)

    def fail():
        raise RuntimeError

    with pytest.raises(RuntimeError):
        run_tasks({"first": [Task("a", fail)]}, tmp_path / "out")
    assert not list((tmp_path / "out" / "items").iterdir())


def change_weights(folder, pipe):
    pipe.files["vae"].write_text("another")
    open_at(folder, pipe, sweep=(1, 2))


OTHERS = {
    "vae is ": change_weights,
    "world is ": lambda folder, pipe: open_at(folder, pipe, seed=2, sweep=(1, 2)),
    "sweep is [1, 2] there, [1] here": lambda folder, pipe: open_at(folder, pipe, sweep=(1,)),
    "dtype is float32 there, bfloat16 here": lambda folder, pipe: open_at(
        folder, replace(pipe, dtype=torch.bfloat16), sweep=(1, 2)
    ),
    "device is cpu there, cuda here": lambda folder, pipe: open_at(
        folder, replace(pipe, device=torch.device("cuda")), sweep=(1, 2)
    ),
}


@pytest.mark.parametrize("said", OTHERS)
def test_measurements_of_something_else_are_refused_and_stay(pipe, tmp_path, said):
    folder = tmp_path / "out"
    open_at(folder, pipe, sweep=(1, 2))
    run_tasks(count_runs("a", "b", "c")[0], folder)
    before = {path: path.read_text() for path in folder.rglob("*.json")}
    with pytest.raises(InputError) as error:
        OTHERS[said](folder, pipe)
    assert "holds another run: " + said in str(error.value)
    assert {path: path.read_text() for path in folder.rglob("*.json")} == before and len(before) == 4
    assert json.loads((folder / "items" / "a.json").read_text()) == {"name": "a", "value": 1.1}
