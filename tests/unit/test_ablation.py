"""`train ablation`, on the smallest parts: three stage 2 that differ in their reference alone, resumed, measured."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.cli_run import read_events, run

from flashvideo_core.checkpoint import load_vae, make_metadata
from flashvideo_core.config import STAGE1, STAGE2, SamplingDefaults, TextConfig, TransformerConfig, VAEConfig
from flashvideo_core.dit import Transformer
from flashvideo_core.handoff import prepare_reference
from flashvideo_core.text import WordEncoder
from flashvideo_core.tiny.ablation import ABLATION, REFERENCES, Budget, make_ablation_recipe
from flashvideo_core.tiny.captions import build_vocabulary
from flashvideo_core.tiny.clips import render_patch
from flashvideo_core.tiny.rendering import render_ahead
from flashvideo_core.tiny.scene import ATTRIBUTES
from flashvideo_core.training.degradation import make_draft
from flashvideo_core.training.device import is_bf16_fast
from flashvideo_core.training.distributed import SINGLE_PROCESS
from flashvideo_core.training.loss_log import read_log
from flashvideo_core.training.randomness import step_generator
from flashvideo_core.vae import VAE
from flashvideo_core.weights.reader import file_sha256

pytest.importorskip("matplotlib")
FEW = ["--from-stage2", "--patches", "2", "--clips", "1", "--batch", "2", "--drafts", "1", "--device", "cpu"]
WIDTHS = {"layers": 1, "hidden": 64, "time_dim": 32, "text_dim": 64, "text_length": len(ATTRIBUTES)}
NAMES = [stage2.name for stage2 in ABLATION]


def stage(released: TransformerConfig, size: tuple[int, int], **defaults) -> Transformer:
    defaults = SamplingDefaults(size=size, frames=17, cfg=1.5, guidance="constant", **defaults)
    return Transformer(replace(released, **WIDTHS, latent_scale=1.0, defaults=defaults))


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> Path:
    """Untrained parts of the embedded model's kinds: drafts of 16x32, refined to 32x64."""
    folder = tmp_path_factory.mktemp("parts")
    torch.manual_seed(0)
    models = {
        "vae": VAE(VAEConfig(channels=4, multipliers=(1, 1, 1, 1), blocks=1, groups=2)),
        "text": WordEncoder(TextConfig(words=len(build_vocabulary()), slots=len(ATTRIBUTES))),
        "stage1": stage(STAGE1, (16, 32), steps=2),
        "stage2": stage(STAGE2, (32, 64), steps=2, ref_step=600, motion="medium motion"),
    }
    for name, model in models.items():
        state = {key: value.contiguous() for key, value in model.state_dict().items()}
        words = {"words": " ".join(build_vocabulary())}
        save_file(state, folder / f"{name}.safetensors", make_metadata(model.config) | words)
    return folder


@pytest.fixture(scope="module")
def made(parts, tmp_path_factory) -> Path:
    """A finished ablation, its stdout beside it."""
    from flashvideo_core.cli.main import main

    folder = tmp_path_factory.mktemp("ablation") / "run"
    assert main([str(word) for word in command(parts, folder)]) == 0
    return folder


def command(parts: Path, folder: Path, *more: str, steps: int = 3) -> list:
    return ["train", "ablation", "--folder", folder, "--parts", parts, *FEW, "--steps", steps, *more]


def test_three_stage_2_are_trained_from_the_same_weights_on_other_references(made, parts):
    start = load_file(parts / "stage2.safetensors")
    trained = [load_file(made / f"{name}.safetensors") for name in NAMES]
    for state in trained:
        assert state.keys() == start.keys()
        assert any(not torch.equal(value, start[name].half()) for name, value in state.items())
    for one, other in ((0, 1), (1, 2), (0, 2)):
        assert any(not torch.equal(value, trained[other][name]) for name, value in trained[one].items())
    assert all(len(read_log(made / name / "loss.csv")) == 3 for name in NAMES)
    assert (made / "loss.png").read_bytes()[:4] == b"\x89PNG"
    shapes = {
        name: tuple(value.shape)
        for name, value in load_file(made / "latents/ablation-patch-00000-2.safetensors").items()
    }
    assert shapes == dict.fromkeys(("z", "clean", "degraded"), (2, 16, 5, 16, 24))


def test_what_is_there_is_kept_and_what_is_missing_is_the_same_again(made, parts, tmp_path, capsys):
    """A finished part is not trained again, nor are latents encoded; the rest follows bit for bit."""
    folder = tmp_path / "run"
    shutil.copytree(made, folder)
    shutil.rmtree(folder / "pixel")
    (folder / "pixel.safetensors").unlink()
    kept = {
        path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.suffix in (".safetensors", ".csv", ".pt")
    }
    code, out, err = run(capsys, *command(parts, folder), "--json")
    assert code == 0, err
    *steps, result = read_events(out)
    assert {step.get("phase") for step in steps} & {*NAMES} == {"pixel"}
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    ours, before = (load_file(place / "pixel.safetensors") for place in (folder, made))
    assert all(torch.equal(value, before[name]) for name, value in ours.items())
    rows = {row["name"]: row for row in result["refined"]["rows"]}
    assert list(rows) == ["upsampled draft", "none", "pixel", "pixel + latent"]
    assert result["refined"]["count"] == 1 and all(
        {"color", "edges", "low_frequency"} <= row.keys() for row in rows.values()
    )
    assert result["files"] == [str(folder / f"{name}.safetensors") for name in NAMES]


def test_the_result_is_a_markdown_table(made, parts, capsys):
    code, out, err = run(capsys, *command(parts, made))
    assert code == 0, err
    table = [line for line in out.splitlines() if line.startswith("|")]
    assert [line.split(" | ")[0] for line in table[:6]] == [
        "| clip",
        "| ---",
        "| upsampled draft",
        "| none",
        "| pixel",
        "| pixel + latent",
    ]
    assert "degradation rows ordered as in the paper" in out


def test_the_references_are_the_hand_off_of_a_clean_and_of_a_degraded_draft(parts):
    vae, kind = load_vae(parts / "vae.safetensors"), REFERENCES[0]
    clip = render_patch(3)
    found, again = (kind.encode(vae, next(render_ahead(kind.render, [[3]]))) for _ in range(2))
    draft = make_draft(clip, (32, 48))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_bf16_fast("cpu")):
        z, clean = (prepare_reference(frames=f[None], vae=vae, size=(128, 192)).half() for f in (clip, draft))
    assert torch.equal(found["z"], z) and torch.equal(found["clean"], clean)
    assert not torch.equal(found["clean"], found["degraded"])
    assert torch.equal(found["degraded"], again["degraded"])


def test_nothing_else_differs_between_the_three():
    """Where clean and degraded are the same, `none` and `pixel` compute the same loss in every step; latent noise is
    a difference of its own, and so is the degradation where there is one."""
    torch.manual_seed(0)
    captions = torch.randn(4, 2, len(ATTRIBUTES), 64)
    table = {name: torch.randn(4, 16, 2, 20, 24).half() for name in ("z", "clean", "degraded")}
    same = table | {"degraded": table["clean"]}

    def losses(arm, table):
        torch.manual_seed(0)
        recipe = make_ablation_recipe(arm, captions, table, table, None, Budget(steps=4, batch=2), SINGLE_PROCESS)
        for p in recipe.model.parameters():
            torch.nn.init.normal_(p, std=0.05)  # a new one gives zeros, whatever it is given
        return [recipe.loss(step_generator(0, step)).item() for step in range(4)]

    none, pixel, latent = ABLATION
    assert losses(none, same) == losses(pixel, same) == losses(none, table)
    for one, other in zip(losses(none, table), losses(pixel, table), strict=True):
        assert one != other
    for one, other in zip(losses(pixel, table), losses(latent, table), strict=True):
        assert one != other


def test_a_short_budget_warms_up_within_it():
    captions = torch.randn(2, 2, len(ATTRIBUTES), 64)
    table = {name: torch.randn(2, 16, 2, 20, 24).half() for name in ("z", "clean")}
    budgets = [Budget(steps, seed=7) for steps in (25, 3000)]
    loops = [
        make_ablation_recipe(ABLATION[0], captions, table, table, None, budget, SINGLE_PROCESS).loop
        for budget in budgets
    ]
    assert [(loop.steps, loop.warmup, loop.seed) for loop in loops] == [(25, 3, 7), (3000, 100, 7)]
    assert replace(loops[0], steps=3000, warmup=100) == loops[1]


WRONG = {
    "holds another run: steps is 3 there, 4 here; choose another": ["--steps", "4"],
    "holds another run: seed is 0 there, 1 here; choose another": ["--seed", "1"],
    "steps is 0; it must be at least 1": ["--steps", "0"],
    "patches is 0; it must be at least 1": ["--patches", "0"],
    "drafts is -1; it must be at least 1": ["--drafts", "-1"],
    "nowhere/stage1.safetensors": ["--parts", "nowhere"],
    "holds the weights of stage2; stage1 is needed here": ["--parts", "{tmp}"],
}


@pytest.mark.parametrize("said", WRONG)
def test_bad_input_is_one_line_and_changes_nothing(made, parts, tmp_path, capsys, said):
    for name in ("vae", "text", "stage2"):
        shutil.copyfile(parts / f"{name}.safetensors", tmp_path / f"{name}.safetensors")
    shutil.copyfile(parts / "stage2.safetensors", tmp_path / "stage1.safetensors")
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    code, out, err = run(capsys, *command(parts, made), *(word.format(tmp=tmp_path) for word in WRONG[said]))
    assert (code, out) == (2, "") and said in err.splitlines()[-1], err
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == before


def test_starting_from_nothing_is_another_run(made, parts, capsys):
    code, _, err = run(capsys, *(word for word in command(parts, made) if word != "--from-stage2"))
    known = file_sha256(parts / "stage2.safetensors")
    assert code == 2 and f"holds another run: start is {known} there, nothing here" in err
