"""Training a stage on own clips, through the command line, with the golden checkpoints: results, resuming, refusals."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from support.cli_run import ROOT, STAGE1, STAGE2, read_events, run
from support.own_clips import weight_options, write_data_set
from test_distributed import FLOAT32, difference

from flashvideo_core.checkpoint import load_transformer, open_weights
from flashvideo_core.cli.main import TORCHRUN_GRACE, main
from flashvideo_core.media.video_reader import read_video
from flashvideo_core.training import prepare
from flashvideo_core.training.batches import Batch
from flashvideo_core.training.finetune import is_sample_due, make_loss_fn
from flashvideo_core.training.loss_log import read_log
from flashvideo_core.training.options import resolve_options
from flashvideo_core.training.randomness import step_generator

SMALL = ["--size", "32x48", "--frames", "5", "--rank", "2", "--lr", "0.01", "--variants", "1"]
QUIET = ["--sample-every", "0", "--save-every", "2"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A data set, the weights' options, and a cache that the first run fills."""
    folder = tmp_path_factory.mktemp("finetune")
    write_data_set(folder / "clips")
    (folder / "clips/broken.mp4").write_text("no video")
    (folder / "clips/broken.txt").write_text("something")
    return folder


def command(base: Path, folder: Path, *more, stage: int = 2, steps: int = 6) -> list[str]:
    small = SMALL if stage == 2 else SMALL[:-2]
    places = ["--data", base / "clips", "--folder", folder, "--cache", base / "cache"]
    return ["train", f"stage{stage}", *places, *weight_options(base), *small, *QUIET, "--steps", steps, *more]


@pytest.fixture(scope="module")
def whole(base, tmp_path_factory):
    """An uninterrupted run of stage 2 as LoRA."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main([str(word) for word in command(base, folder, "--sample-every", "6")]) == 0
    return folder


def test_a_run_leaves_its_lora_its_log_its_states_and_a_sample(whole):
    assert [step for step, _ in read_log(whole / "loss.csv")] == list(range(6))
    assert (whole / "loss.png").read_bytes()[:4] == b"\x89PNG"
    assert {path.name for path in whole.glob("state*")} == {"state.pt", "state-00000004.pt", "state-00000006.pt"}
    sample = read_video(whole / "samples/step-00000006.mp4")
    assert sample.frames.shape == (5, 16, 16, 3) and sample.fps == 8  # the middle patch: half of 32x48, floored
    tensors = load_file(whole / "lora.safetensors")
    assert tensors["diffusion_model.blocks.0.qkv.lora_B.weight"].shape == (384, 6)
    assert tensors["diffusion_model.blocks.0.qkv.lora_B.weight"].abs().max() > 0
    metadata = opened(whole / "lora.safetensors")[1]
    assert {name: metadata[name] for name in ("stage", "rank", "alpha", "steps")} == {
        "stage": "2",
        "rank": "2",
        "alpha": "2.0",
        "steps": "6",
    }


@pytest.mark.parametrize(
    ("every", "steps"), [(0, []), (2, [2, 4, 6, 7]), (3, [4, 6, 7]), (4, [4, 7]), (6, [6, 7]), (100, [7])]
)
def test_samples_come_with_the_next_state(every, steps):
    """States after 2, 4, 6 and, at the end, 7 steps."""
    options = resolve_options(open_weights(STAGE1).config, steps=7, save_every=2, sample_every=every)
    assert [step for step in (2, 4, 6, 7) if is_sample_due(step, options)] == steps


def test_what_is_left_out_is_said(base, tmp_path, capsys):
    code, out, err = run(capsys, *command(base, tmp_path / "run", "--json", steps=1))
    assert code == 0, err
    notes = [event["message"] for event in read_events(out) if event["event"] == "note"]
    skipped = [note for note in notes if note.startswith("skipped")]
    assert skipped == [f"skipped {base / 'clips/broken.mp4'}: not a video file (or one that is cut off or damaged)"]
    assert any("memory at the peak of a step" in note for note in notes)
    assert read_events(out)[-1]["file"] == str(tmp_path / "run/lora.safetensors")


def test_with_a_full_cache_neither_vae_nor_text_encoder_is_loaded(base, whole, tmp_path, capsys, monkeypatch):
    def forbidden(*args, **how):
        raise AssertionError("loaded")

    monkeypatch.setattr(prepare, "load_vae", forbidden)
    monkeypatch.setattr(prepare, "load_text_component", forbidden)
    code, _, err = run(capsys, *command(base, tmp_path / "run"))
    assert code == 0, err
    same_result(tmp_path / "run", whole)


def same_result(one: Path, other: Path) -> None:
    """Bit for bit: the LoRA and what it says of itself, the whole state, the log."""
    (ours, said), (wanted, wanted_said) = (opened(folder / "lora.safetensors") for folder in (one, other))
    assert said == wanted_said and ours.keys() == wanted.keys()
    assert all(torch.equal(value, wanted[name]) for name, value in ours.items())
    ours, wanted = (torch.load(folder / "state.pt", weights_only=True) for folder in (one, other))
    assert flat(ours).keys() == flat(wanted).keys()
    assert all(torch.equal(value, flat(wanted)[name]) for name, value in flat(ours).items())
    assert read_log(one / "loss.csv") == read_log(other / "loss.csv")


def opened(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    with safe_open(path, "pt") as file:
        return load_file(path), file.metadata()


def flat(tree, name="") -> dict[str, torch.Tensor]:
    """The tensors of a nested state by path: weights, average and moments."""
    if isinstance(tree, torch.Tensor):
        return {name: tree}
    if isinstance(tree, dict):
        return {k: v for key, value in tree.items() for k, v in flat(value, f"{name}/{key}").items()}
    return {}


def test_killed_at_a_random_moment_it_goes_on_to_the_same_weights(base, whole, tmp_path, capsys):
    """SIGKILL, which nothing can catch, twice; then the same command to the end."""
    folder = tmp_path / "run"
    moment = random.Random(os.urandom(8))
    words = [str(word) for word in command(base, folder)]
    for _ in range(2):
        after, delay = moment.randrange(6), moment.uniform(0, 0.2)
        process = subprocess.Popen(
            [sys.executable, "-m", "flashvideo_core", *words],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for_line(folder / "loss.csv", f"\n{after},", process)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    code, _, err = run(capsys, *words)
    assert code == 0, err
    same_result(folder, whole)


def wait_for_line(path: Path, text: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline:
        if path.exists() and text in path.read_text():
            return
        time.sleep(0.005)


def test_it_goes_on_from_an_older_state_when_that_is_put_in_place(base, whole, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    shutil.copyfile(folder / "state-00000004.pt", folder / "state.pt")
    (folder / "lora.safetensors").unlink()
    code, _, err = run(capsys, *command(base, folder))
    assert code == 0, err
    same_result(folder, whole)


def test_a_folder_of_another_run_is_refused(base, whole, capsys):
    before = (whole / "state.pt").read_bytes()
    code, _, err = run(capsys, *command(base, whole, "--lr", "0.02"))
    assert code == 2
    assert err.splitlines()[-1] == f"error: {whole} holds another run: lr is 0.01 there, 0.02 here; choose another"
    assert (whole / "state.pt").read_bytes() == before


def test_recomputed_activations_change_nothing(base, whole, tmp_path, capsys):
    code, _, err = run(capsys, *command(base, tmp_path / "run", "--checkpointing"))
    assert code == 0, err
    ours, wanted = (load_file(folder / "lora.safetensors") for folder in (tmp_path / "run", whole))
    for name, value in wanted.items():
        torch.testing.assert_close(ours[name], value, atol=1e-5, rtol=1e-4)


def test_all_weights_of_stage_1(base, tmp_path, capsys):
    code, _, err = run(capsys, *command(base, tmp_path / "run", "--mode", "full", stage=1, steps=2))
    assert code == 0, err
    made, before = load_transformer(tmp_path / "run/stage1.safetensors"), load_transformer(STAGE1)
    assert made.config == before.config and open_weights(tmp_path / "run/stage1.safetensors").origin == "ours"
    changed = {name for name, p in before.state_dict().items() if not torch.equal(p, made.state_dict()[name])}
    assert {"patch_embed.weight", "blocks.1.mlp_up.weight", "head.weight"} <= changed


@pytest.mark.parametrize("stage", [1, 2])
def test_the_loss_is_zero_at_the_exact_velocity(stage, monkeypatch):
    """What reaches the losses is scaled, noised and dropped as at inference: the straight path leads to z."""
    from flashvideo_core.schedule import velocity, zero_snr_sqrt_alphas
    from flashvideo_core.training import finetune

    config = open_weights((STAGE1, STAGE2)[stage - 1]).config
    z, z_ref = torch.randn(2, 16, 2, 4, 6), torch.randn(2, 16, 2, 4, 6)
    monkeypatch.setattr(finetune, "sample_batch", lambda *args: Batch(z, z_ref, torch.ones(2, 3, 4), 650))
    options, seen = resolve_options(config, batch=2, steps=2, text_drop=0.5), []

    def exact(x, timestep, txt, ref_step=None):
        seen.append((txt, ref_step))
        if stage == 2:
            return (config.latent_scale * z - x) * (1000 / timestep).view(-1, 1, 1, 1, 1)
        a = zero_snr_sqrt_alphas()[timestep.long()].view(-1, 1, 1, 1, 1)
        noise = (x - a * config.latent_scale * z) / (1 - a * a).sqrt()
        return velocity(config.latent_scale * z, noise, a)

    loss = make_loss_fn(exact, (), options, config, torch.device("cpu"))
    for step in range(8):
        assert float(loss(step_generator(0, step))) < 1e-4
    kept = torch.cat([txt[:, 0, 0] for txt, _ in seen])
    assert set(kept.tolist()) == {0.0, 1.0} and {ref_step for _, ref_step in seen} == {650 if stage == 2 else None}


WRONG = {
    "--data is missing": ["--folder", "x"],
    "steps is 0; it must be at least 1": ["--steps", "0"],
    "batch is 0; it must be at least 1": ["--batch", "0"],
    "accumulate at most 64": ["--accumulate", "65"],
    "rank is 0; it must be at least 1": ["--rank", "0"],
    "variants is 0; it must be at least 1": ["--variants", "0"],
    "lr is nan; it must be a positive number": ["--lr", "nan"],
    "alpha is -1; it must be a positive number": ["--alpha", "-1"],
    "fps is inf; it must be a positive number": ["--fps", "inf"],
    "frames is 6; it must be 4n+1": ["--frames", "6"],
    "height is 8; it must be 16": ["--size", "8x64"],
    "patch 64x64 is larger than the size 32x48": ["--size", "32x48", "--patch", "64x64"],
    "invalid choice: 'adapter'": ["--mode", "adapter"],
    "invalid choice: 'none'": ["--curriculum", "none"],
    "training reads many captions: give --t5 or --text": ["--embeddings", "e.safetensors"],
    "is neither a folder of clips nor a .csv": ["--data", "nowhere", "--folder", "{tmp}/run"],
    "holds no clip that can be trained on": ["--data", "{tmp}", "--folder", "{tmp}/run"],
}


@pytest.mark.parametrize("said", WRONG)
def test_bad_input_is_one_line(base, tmp_path, capsys, said):
    given = [word.format(tmp=tmp_path) for word in WRONG[said]]
    code, out, err = run(capsys, "train", "stage2", *(() if "--embeddings" in given else weight_options(base)), *given)
    assert (code, out) == (2, ""), err
    assert err.splitlines()[-1].startswith("error: ") and said in err.splitlines()[-1]
    assert "Traceback" not in err


def test_degraded_drafts_are_shown_beside_their_clips(base, tmp_path, capsys):
    """A column a variant: draft above, degraded below, first and last frame: 2 variants of 2 clips of 16x24."""
    sheet = tmp_path / "sheet.png"
    how = ["--size", "64x96", "--frames", "5", "--variants", "2", "--clips", "2"]
    code, out, err = run(capsys, "train", "preview-degradation", "--data", base / "clips", "--out", sheet, *how)
    assert (code, out) == (0, f"{sheet}\n") and "skipped" in err
    assert read_video(sheet).frames.shape == (1, 2 * 2 * 16, 2 * 2 * 16, 3)
    code, _, err = run(capsys, "train", "preview-degradation", "--data", base / "clips", "--out", tmp_path / "s.gif")
    assert code == 2 and err.endswith("s.gif must end in .png\n")


FLOAT32_ONLY = {"ATEN_CPU_CAPABILITY": "avx2"}  # no CPU is then taken for one with fast bf16


def run_process(*words: str, processes: int = 1, env: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    """The command line in a process of its own, or in several, on a free port of this machine."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *(launch if processes > 1 else []), "-m", "flashvideo_core", *map(str, words)]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}, capture_output=True, text=True
    )


@pytest.mark.parametrize("share", ["--accumulate", "--batch"])
def test_two_processes_train_what_one_does(base, tmp_path, share):
    """torchrun with gloo and FSDP2: each process computes one of two micro-batches, or one row of two, and both sample
    together. What has to be said, the first one says. Measured as in test_distributed.py, at its learning rate.

    In float32 on every CPU. Where bf16 is fast training autocasts, and a row's gradient is then rounded to 8 bits
    before it is averaged, instead of the sum of both rows: 3.8e-4 here, of the kind that test_distributed.py bounds.
    """
    how = [share, "2", "--sample-every", "3", "--lr", "0.001"]
    one, two = (command(base, tmp_path / name, *how, steps=3) for name in ("one", "two"))
    done = run_process(*one, env=FLOAT32_ONLY)
    assert done.returncode == 0, done.stderr
    done = run_process(*two, processes=2, env=FLOAT32_ONLY)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("skipped") == 1
    assert done.stdout == f"{tmp_path / 'two/lora.safetensors'}\n"
    (wanted, said), (ours, ours_said) = (opened(tmp_path / name / "lora.safetensors") for name in ("one", "two"))
    assert said == ours_said
    assert difference(wanted, ours) <= FLOAT32
    assert (tmp_path / "two/samples/step-00000003.mp4").exists()


def test_bad_input_to_several_processes_is_one_line(base, tmp_path):
    done = run_process(*command(base, tmp_path / "run", "--rank", "0"), processes=2)
    assert done.returncode != 0 and done.stdout == ""
    assert [line for line in done.stderr.splitlines() if "rank is 0" in line] == [
        "error: rank is 0; it must be at least 1"
    ]


def test_what_only_another_process_meets_that_one_says(monkeypatch, capsys):
    """It leaves the first one time to speak, whose exit makes torchrun end the others."""
    waited = []
    monkeypatch.setattr("flashvideo_core.cli.main.time.sleep", waited.append)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert run(capsys, "info", "nowhere.mp4")[::2] == (2, "error: nowhere.mp4: there is no such file\n")
    assert waited == [TORCHRUN_GRACE]
