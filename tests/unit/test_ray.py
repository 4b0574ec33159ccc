"""`--ray`: actors make the clips, with the bytes of one process, whatever is killed."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.cli_run import ROOT, list_files, read_events, run
from support.lock_owners import PATIENCE, SLOW_ENOUGH, kill_at_work
from support.ray_work import OddWork

from flashvideo_core.cli.options import ComponentOptions
from flashvideo_core.cli.progress import Reporter
from flashvideo_core.errors import InputError

PROMPTS = [f"a small {color} star stays still" for color in ("red", "green", "blue", "white", "yellow", "black")]
EMBEDDED = ComponentOptions(*[None] * 6, device="cpu", dtype=None, attention=None)


def test_without_ray_one_line_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, err = run(capsys, "generate", "a red ball", "--ray", "local")
    install = "pip install ray (or flashvideo with its extra [ray])"
    assert (code, err) == (2, f"error: --ray hands clips to ray, which is not installed: {install}\n")


def test_actors_without_ray_are_refused(capsys):
    code, _, err = run(capsys, "generate", "a red ball", "--actors", "2")
    assert (code, err) == (2, "error: --actors is for --ray: add --ray local\n")


@pytest.fixture
def ray(monkeypatch):
    """Ray, whose workers find tests/support."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{ROOT / 'tests'}")
    return pytest.importorskip("ray", reason="NOT TESTED: --ray, without the package ray")


def test_where_no_cluster_runs_auto_says_so(ray, capsys):
    code, _, err = run(capsys, "generate", "a red ball", "--ray", "auto")
    assert code == 2 and err.startswith("error: no Ray cluster at auto (start one with `ray start --head`")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:9", "no Ray cluster at 127.0.0.1:9: Connection refused"),
        ("ray://127.0.0.1:9", "no Ray cluster at ray://127.0.0.1:9: Connection refused"),
        ("cluster", "ray is 'cluster'; write local, auto, HOST:PORT or ray://HOST:PORT"),
        ("cluster:six", "ray is 'cluster:six'; write local"),
    ],
)
def test_an_address_where_nothing_listens_is_said_at_once(ray, address, words, capsys):
    code, out, err = run(capsys, "generate", "a red ball", "--ray", address)
    assert (code, out) == (2, "") and err.startswith(f"error: {words}")


def test_lost_actors_restart_and_what_loses_every_actor_is_given_up(ray, tmp_path):
    """An error of ours ends the actor as a signal does; one of the user's comes back as it is."""
    from flashvideo_core.cli.ray_actors import open_actors

    said, work, made = io.StringIO(), OddWork(tmp_path), []
    with open_actors("local", 1, EMBEDDED, Reporter(said, said)) as actors:
        with pytest.raises(InputError, match=r"^2 of 4 clips cost 3 actors each and were given up"):
            made += [result for _, result in actors.make_all(work, ["killed", "one", "broken", "two"], None)]
        with pytest.raises(InputError, match=r"^this item is refused$"):
            list(actors.make_all(work, ["refused"], None))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "killed", "one", "refused", "two"]
    tries = {path.name: len(path.read_text().split()) for path in tmp_path.iterdir()}
    assert tries == {"killed": 3, "broken": 3, "one": 1, "two": 1, "refused": 1}
    lost = said.getvalue().count("is made again")
    assert lost >= 4 and said.getvalue().count("is given up") == 2  # a call to an actor that is not up yet is lost, too
    assert "2 of 4 in " in said.getvalue() and "clips an hour" in said.getvalue()


def test_the_clip_of_a_lost_actor_is_taken_by_one_that_has_nothing_to_do(ray, tmp_path):
    """It does not wait for its own actor, whose machine may have gone."""
    from flashvideo_core.cli.ray_actors import open_actors

    said, work = io.StringIO(), OddWork(tmp_path)
    with open_actors("local", 2, EMBEDDED, Reporter(said, said)) as actors:
        made = actors.make_all(work, ["killed", "one"], None)
        assert next(made)[1].prompt == "one"
        with pytest.raises(InputError, match=r"^1 of 2 clips"):
            next(made)
    tried, free = ((tmp_path / name).read_text().split() for name in ("killed", "one"))
    assert len(tried) == 3 and tried[1] == free[0]


def test_two_actors_of_which_one_is_killed_make_the_bytes_of_one_process(ray, tmp_path):
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS), "utf-8")
    command = [sys.executable, "-m", "flashvideo_core", "generate", "--prompts", str(tmp_path / "prompts.txt")]
    command += SLOW_ENOUGH
    options = {"cwd": ROOT, "env": os.environ | {"OMP_NUM_THREADS": "1"}, "text": True}
    actors = ["--ray", "local", "--actors", "2", "--json", "--output", str(tmp_path / "ray")]
    process = subprocess.Popen([*command, *actors], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    try:
        kill_at_work(tmp_path / "ray", process)
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 0, err
    events = read_events(out)
    assert sorted(event["prompt"] for event in events if event["event"] == "clip") == sorted(PROMPTS)
    assert [clip["prompt"] for clip in events[-1]["clips"]] == PROMPTS
    assert sum("an actor was lost, its clip is made again" in event.get("message", "") for event in events) == 1
    subprocess.run([*command, "--output", str(tmp_path / "one")], check=True, capture_output=True, **options)
    made = list_files(tmp_path / "ray")
    assert made == list_files(tmp_path / "one") and len({Path(name).parent for name in made}) == len(PROMPTS)
    assert all((tmp_path / "ray" / name).read_bytes() == (tmp_path / "one" / name).read_bytes() for name in made)
