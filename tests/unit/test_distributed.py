"""Two processes under torchrun (gloo, FSDP2) train as one does, and go on from each other's states."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.distributed_worker import CASES, make_small_recipe, train
from support.golden import MEASURED
from torch import nn

from flashvideo_core.tiny.latent_shards import finish_shards, start_shards
from flashvideo_core.tiny.latents import DRAFTS, PAIRS, PATCH_PAIRS
from flashvideo_core.tiny.material import DRAFT_COUNT, PAIR_COUNT, PATCH_COUNT
from flashvideo_core.tiny.train import MODELS
from flashvideo_core.training.activation_checkpointing import enable_activation_checkpointing
from flashvideo_core.training.distributed import (
    SINGLE_PROCESS,
    World,
    assign_items,
    assign_micro_batches,
    init_distributed,
)
from flashvideo_core.training.loss_log import read_log
from flashvideo_core.training.randomness import step_generator

ROOT = Path(__file__).parents[2]
TINY = ROOT / "flashvideo_core" / "tiny"
KINDS = ("weights", "ema", "exp_avg", "exp_avg_sq")
FLOAT32, BF16 = 1e-6, 2.0**-7  # norm of the difference over the norm, after three and six steps
HALF = "state-00000003.pt"


def torchrun(*args: str) -> subprocess.CompletedProcess:
    """Two processes, on a free port of this machine."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *args]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=ROOT, timeout=1800)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """ "one CASE" and "two CASE" of every case; "two resumed" and "one resumed" from the other's state at step 3."""
    folder = tmp_path_factory.mktemp("worlds")
    for case in CASES:
        train(case, folder / f"one {case}", SINGLE_PROCESS)
    copy_state(folder / "one rows", folder / "two resumed")
    torchrun(str(ROOT / "tests" / "support" / "distributed_worker.py"), str(folder))
    copy_state(folder / "two rows", folder / "one resumed")
    train("rows", folder / "one resumed", SINGLE_PROCESS)
    return folder


def copy_state(source: Path, target: Path) -> None:
    target.mkdir()
    shutil.copyfile(source / HALF, target / "state.pt")
    shutil.copyfile(source / "loss.csv", target / "loss.csv")


def tensors(state: Path) -> dict[str, dict[str, torch.Tensor]]:
    """KINDS -> name -> what a state holds."""
    loaded = torch.load(state, weights_only=True)
    moments = dict(zip(loaded["params"], loaded["optimizer"]["state"].values(), strict=True))
    out = {"weights": loaded["params"], "ema": loaded["ema"]}
    return out | {kind: {name: of[kind] for name, of in moments.items()} for kind in KINDS[2:]}


def difference(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> float:
    """Norm of the difference over the norm. Not the largest element: AdamW divides by a gradient's size, so a weight
    whose gradient is zero but for rounding goes either way."""
    assert list(one) == list(two)
    a, b = (torch.cat([value.double().flatten() for value in values.values()]) for values in (one, two))
    return ((a - b).norm() / a.norm()).item()


def compare(label: str, one: Path, two: Path, tolerance: float = FLOAT32) -> None:
    one, two = tensors(one), tensors(two)
    errors = {kind: difference(one[kind], two[kind]) for kind in KINDS}
    worst = max(errors, key=errors.get)
    MEASURED[f"2 = 1: {label}"] = (errors[worst], f"{worst}, relative norm")
    assert all(value <= tolerance for value in errors.values()), errors


def facts(runs: Path) -> list[dict]:
    return [json.loads((runs / f"facts-{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("case", CASES)
def test_two_processes_make_the_steps_of_one(runs, case):
    tolerance = BF16 if "bf16" in case else FLOAT32
    for state in (HALF, "state.pt"):
        compare(case, runs / f"one {case}" / state, runs / f"two {case}" / state, tolerance)
    one, two = (dict(read_log(runs / f"{count} {case}" / "loss.csv")) for count in ("one", "two"))
    assert one == pytest.approx(two, rel=tolerance) and len(one) == 6


def test_the_cases_differ(runs):
    """Otherwise their agreement would say little."""
    final = {case: tensors(runs / f"one {case}" / "state.pt") for case in ("rows", "micro-batches", "one item")}
    for case in ("micro-batches", "one item"):
        assert difference(final["rows"]["weights"], final[case]["weights"]) > 1000 * FLOAT32
        assert difference(final["rows"]["exp_avg"], final[case]["exp_avg"]) > 0.1


def test_every_process_holds_its_shard_only_and_the_first_one_reports(runs):
    first, second = facts(runs)
    for case in CASES:
        assert first[case]["sharded"] and second[case]["sharded"], case
        assert first[case]["held"] + second[case]["held"] == pytest.approx(1), case
        assert 0.45 < first[case]["held"] < 0.55, case
        assert first[case]["steps"] == list(range(6)) and second[case]["steps"] == [], case
        assert first[case]["whole"] > 0 and second[case]["whole"] == 0, case


def test_processes_leave_the_group_together(runs):
    """One that is done early would end Python while gloo may still hold its last tensors, and be aborted."""
    first, second = facts(runs)
    assert second["finished"] < first["finished"] <= second["left"]


def test_two_processes_go_on_from_a_state_of_one(runs):
    assert facts(runs)[0]["resumed"]["steps"] == [3, 4, 5]
    compare("resumed by two", runs / "one rows" / "state.pt", runs / "two resumed" / "state.pt")


def test_one_process_goes_on_from_a_state_of_two(runs):
    compare("resumed by one", runs / "one rows" / "state.pt", runs / "one resumed" / "state.pt")
    assert [step for step, _ in read_log(runs / "one resumed" / "loss.csv")] == list(range(6))


def test_train_tiny_writes_a_part_once_from_the_average(runs):
    """The first process exports what one process would have."""
    ours = load_file(runs / "parts" / "stage1.safetensors")
    ema = tensors(runs / "parts" / "stage1" / "state.pt")["ema"]
    assert ours.keys() == ema.keys()
    assert all(torch.equal(ours[name], value.half()) for name, value in ema.items())


def test_the_command_train_tiny_says_its_result_once(tmp_path):
    """Under torchrun, with every part in place."""
    pytest.importorskip("matplotlib")
    for part in MODELS:
        shutil.copyfile(TINY / f"{'vae' if part == 'image' else part}.safetensors", tmp_path / f"{part}.safetensors")
        (tmp_path / part).mkdir()
        (tmp_path / part / "loss.csv").write_text("step,loss,lr\n0,1.0,0.1\n1,0.9,0.1\n")
    for kind, count in ((DRAFTS, DRAFT_COUNT), (PATCH_PAIRS, PATCH_COUNT), (PAIRS, PAIR_COUNT)):
        empty = replace(kind, render=lambda index: {"z": torch.randn(16, 5, 8, 12)}, encode=lambda vae, clips: clips)
        finish_shards(start_shards(tmp_path / "latents", empty, count=count), nn.Linear(1, 1))
    done = torchrun("-m", "flashvideo_core", "train", "tiny", "--folder", str(tmp_path))
    files = [str(tmp_path / f"{part}.safetensors") for part in ("stage1", "stage2", "vae", "text")]
    assert sorted(done.stdout.split()) == sorted(files)
    assert (tmp_path / "loss.png").stat().st_size > 1000


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, 8])
@pytest.mark.parametrize("count, batch", [(1, 8), (2, 12), (3, 1), (4, 2), (6, 4), (1, 24)])
def test_the_shares_of_all_processes_weigh_every_item_alike(size, count, batch):
    """Each item's weight in the mean over processes, their micro-batches and their rows; or a clear refusal."""
    weight = torch.zeros(count, batch)
    try:
        for rank in range(size):
            micros, mine = assign_micro_batches(World(rank, size), count), assign_items(World(rank, size), count, batch)
            for micro in micros:
                weight[micro, mine] += 1 / (size * len(micros) * len(weight[micro, mine]))
    except ValueError as error:
        assert f"a batch of {batch} cannot be divided among" in str(error)
        assert count * batch % size and size % (count * batch)
        return
    torch.testing.assert_close(weight, torch.full_like(weight, 1 / (count * batch)))


def test_recomputing_gives_the_same_gradients_and_keeps_the_names():
    gradients = []
    for change in (None, enable_activation_checkpointing):
        torch.manual_seed(0)
        recipe = make_small_recipe(SINGLE_PROCESS, change=change)
        recipe.loss(step_generator(0, 0)).backward()
        gradients.append({name: p.grad for name, p in recipe.model.named_parameters()})
    kept, recomputed = gradients
    assert kept.keys() == recomputed.keys()
    assert all(torch.equal(recomputed[name], grad) for name, grad in kept.items())


def test_without_torchrun_there_is_no_group(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with init_distributed("cpu") as world:
        assert world == SINGLE_PROCESS and not torch.distributed.is_initialized()
