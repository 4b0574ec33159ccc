"""What is finished is on disk before anything else is tried, and is replaced only by something finished."""

import json
import os
import socket
from contextlib import suppress

import pytest
import torch
from support.cli_run import list_files, run

from flashvideo_core.cli import making
from flashvideo_core.cli.clip_lock import lock_clip
from flashvideo_core.cli.outputs import folder_files, vbench_files
from flashvideo_core.cli.replacing import COMMITTED, complete_replacement
from flashvideo_core.errors import InputError
from flashvideo_core.media.draft_file import load_draft
from flashvideo_core.weights.atomic import atomic_write, remove_leftovers

FOLDER = {"draft.safetensors", "draft.mp4", "final.mp4", "side_by_side.mp4", "clip.json"}
SMALL = ["--frames", "1", "--height", "16", "--width", "16", "--size", "16x16", "--steps", "2", "--refine-steps", "1"]
NO_MEMORY = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")


def make(capsys, folder, *options, command="generate", prompt="a red ball moves left"):
    sizes = SMALL if command == "generate" else [*SMALL[:6], *SMALL[8:10]]
    return run(capsys, command, prompt, *sizes, "--device", "cpu", *options, "--output", folder)


def fail_once(monkeypatch, name, error):
    """The function of making.py raises the first time it is called."""
    original, calls = getattr(making, name), []

    def fail(*args, **kwargs):
        calls.append(name)
        if len(calls) == 1:
            raise error
        return original(*args, **kwargs)

    monkeypatch.setattr(making, name, fail)


def read(folder):
    return json.loads((folder / "clip.json").read_text("utf-8"))


@pytest.mark.parametrize("error", [NO_MEMORY, KeyboardInterrupt()], ids=["memory", "Ctrl-C"])
def test_a_draft_whose_decoding_fails_is_kept_and_gone_on_from(error, tmp_path, capsys, monkeypatch):
    fail_once(monkeypatch, "decode_draft", error)
    code, _, err = make(capsys, tmp_path, command="draft")
    kept = f"the finished draft is kept in {tmp_path / 'draft.safetensors'}"
    assert (code, list_files(tmp_path)) == (130 if isinstance(error, KeyboardInterrupt) else 1, {"draft.safetensors"})
    assert err.splitlines()[-1].endswith(kept) and "Traceback" not in err
    code, _, err = make(capsys, tmp_path, command="draft")
    assert code == 0 and "going on from the finished draft" in err and "stage 1" not in err
    assert list_files(tmp_path) == {"draft.safetensors", "draft.mp4"}


def test_a_refined_latent_whose_decoding_fails_is_kept_and_gone_on_from(tmp_path, capsys, monkeypatch):
    fail_once(monkeypatch, "write_clip", NO_MEMORY)
    code, _, err = make(capsys, tmp_path / "a")
    assert code == 1 and "the refined latent is kept in" in err.splitlines()[-1]
    latent = load_draft(tmp_path / "a/.refined.safetensors")[0]
    assert latent.shape == (1, 16, 1, 2, 2)
    code, _, err = make(capsys, tmp_path / "a")
    assert code == 0 and "going on from the refined latent" in err and "stage" not in err
    assert list_files(tmp_path / "a") == FOLDER
    make(capsys, tmp_path / "b")
    assert (tmp_path / "a/final.mp4").read_bytes() == (tmp_path / "b/final.mp4").read_bytes()


def test_out_of_memory_names_the_phase(tmp_path, capsys, monkeypatch):
    def fail(*args, **kwargs):
        raise NO_MEMORY

    monkeypatch.setattr("flashvideo_core.phases.decode", fail)
    code, _, err = make(capsys, tmp_path, command="draft")
    assert code == 1 and err.splitlines()[-1].startswith("error: out of memory in the decoding of the draft (")


@pytest.mark.parametrize("stage", ["decode_draft", "sample_refine", "write_clip"])
def test_another_clip_takes_the_place_only_when_it_is_finished(stage, tmp_path, capsys, monkeypatch):
    make(capsys, tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in FOLDER}
    fail_once(monkeypatch, stage, KeyboardInterrupt())
    code, _, err = make(capsys, tmp_path, "--seed", "9")
    assert code == 130 and "holds another clip ('a red ball moves left'); it is replaced when this one is" in err
    assert {name: (tmp_path / name).read_bytes() for name in FOLDER} == before
    code, _, err = make(capsys, tmp_path, "--seed", "9")
    assert code == 0 and "going on from" in err
    assert list_files(tmp_path) == FOLDER and read(tmp_path)["stage1"]["seed"] == 9
    assert load_draft(tmp_path / "draft.safetensors")[1]["stage1"]["seed"] == 9
    assert make(capsys, tmp_path, "--seed", "9")[2].count("already finished") == 1


def test_a_draft_takes_the_place_of_a_clip(tmp_path, capsys):
    make(capsys, tmp_path)
    assert make(capsys, tmp_path, "--seed", "9", command="draft")[0] == 0
    assert list_files(tmp_path) == {"draft.safetensors", "draft.mp4"}


def fill(folder, text, names=FOLDER):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text(text)


def test_a_replacement_that_was_killed_is_completed(tmp_path):
    """Wherever it stopped: nothing says that the old clip is finished, and the new one is whole in the end."""
    order = [path.name for path in folder_files(tmp_path).visible()]
    assert order[-1] == "clip.json"
    for moved in range(len(order) + 1):
        fill(tmp_path, "old", order[:-1])
        fill(tmp_path, "new", order[:moved])
        fill(tmp_path / COMMITTED, "new", order[moved:])
        complete_replacement(tmp_path)
        assert list_files(tmp_path) == FOLDER and all((tmp_path / name).read_text() == "new" for name in order)


def test_two_processes_do_not_write_one_folder(tmp_path, capsys):
    with lock_clip(folder_files(tmp_path).lock):
        refusal = pytest.raises(InputError, match=f"is being written by another process \\({os.getpid()} on ")
        with refusal, lock_clip(folder_files(tmp_path).lock):
            pass
        code, _, err = make(capsys, tmp_path)
        assert code == 2 and err.count("\n") == 1
    assert list_files(tmp_path) == set()


def test_the_lock_of_a_dead_process_is_free(tmp_path):
    lock = folder_files(tmp_path).lock
    lock.write_text("999999")
    with lock_clip(lock):
        assert lock.read_text() == f"{os.getpid()} on {socket.gethostname()}"
    assert not lock.exists()


def test_what_dead_processes_left_is_removed(tmp_path, capsys):
    for name in (".final.mp4.123.part", ".draft.mp4.4.part", ".draft.safetensors.99.part"):
        (tmp_path / name).write_text("half")
    (tmp_path / ".final.mp4.notes.part").write_text("somebody's own")
    assert make(capsys, tmp_path, command="draft")[0] == 0
    assert list_files(tmp_path) == {"draft.safetensors", "draft.mp4", ".final.mp4.notes.part"}


def test_names_of_255_bytes_are_written(tmp_path):
    prompt = "\N{EURO SIGN}" * 83
    path = vbench_files(tmp_path, prompt, 0).final
    assert len(path.name.encode()) == 255
    with suppress(ZeroDivisionError), atomic_write(path) as partial:
        partial.write_text("half")
        path.with_name(partial.name.replace(str(os.getpid()), "77")).write_text("left")
        _ = 1 / 0
    remove_leftovers([path])
    assert list_files(tmp_path) == set()
    with atomic_write(path) as partial:
        partial.write_text("whole")
    assert path.read_text() == "whole"


def test_the_latent_of_a_stopped_clip_is_used_for_no_other(tmp_path, capsys, monkeypatch):
    fail_once(monkeypatch, "write_clip", KeyboardInterrupt())
    make(capsys, tmp_path)
    err = make(capsys, tmp_path, "--noise-step", "40")[2]
    assert "going on from the finished draft" in err and "refined latent" not in err
    assert torch.isfinite(load_draft(tmp_path / "draft.safetensors")[0]).all()
    assert list_files(tmp_path) == FOLDER
