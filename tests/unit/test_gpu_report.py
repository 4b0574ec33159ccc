"""The report of a card, at size tiny on the CPU: rows, table, and that a finished phase is not measured again."""

import json

import torch

from flashvideo_core.bench.gpu_phases import PHASES
from flashvideo_core.bench.gpu_report import write_gpu_report
from flashvideo_core.cli.main import main

CPU = torch.device("cpu")
QUICK = {name: PHASES[name] for name in PHASES if name != "compile"}  # which takes a compiler and a minute


def test_every_phase_is_a_row_of_the_table(tmp_path):
    rows = write_gpu_report(tmp_path / "gpu.md", "tiny", CPU, torch.float32, phases=QUICK)
    named = [row["what"] for row in rows]
    assert {
        "stage 1, one branch",
        "stage 1 in fp8, one branch",
        "stage 2, both branches",
        "stage 2 over windows of 2x3, both branches",
        "VAE decode, whole",
        "clip: stage2",
    } <= set(named)
    assert all(row["seconds"] > 0 for row in rows), rows
    lines = (tmp_path / "gpu.md").read_text().splitlines()
    assert lines[0].startswith("no GPU (cpu), torch") and lines[0].endswith("float32, size tiny")
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines[4:]] == named


def test_a_stopped_report_goes_on_after_the_last_finished_phase(tmp_path):
    calls = []

    def count(name):
        return lambda case: calls.append(name) or QUICK["matmul"](case)

    def stop(case):
        raise KeyboardInterrupt

    path = tmp_path / "gpu.md"
    try:
        write_gpu_report(path, "tiny", CPU, torch.float32, phases={"a": count("a"), "b": stop})
    except KeyboardInterrupt:
        assert list(json.loads(path.with_suffix(".json").read_text())["phases"]) == ["a"]
    write_gpu_report(path, "tiny", CPU, torch.float32, phases={"a": count("a"), "b": count("b")})
    assert calls == ["a", "b"]
    write_gpu_report(path, "tiny", CPU, torch.bfloat16, phases={"a": count("a")})
    assert calls == ["a", "b", "a"], "another dtype is another measurement"


def test_the_command_refuses_a_folder_that_cannot_be_written_before_it_measures(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    code = main(["bench", "--gpu-report", str(tmp_path / "file" / "gpu.md"), "--size", "tiny", "--device", "cpu"])
    assert code == 2
    assert "cannot write into the folder" in capsys.readouterr().err
