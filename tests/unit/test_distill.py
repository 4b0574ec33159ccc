"""Distilling stage 2 on the golden checkpoints: what is learnt, the run through the command line, refusals."""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.cli_run import STAGE2, run
from support.own_clips import weight_options, write_data_set
from test_distributed import FLOAT32, difference, tensors
from test_finetune import FLOAT32_ONLY, opened, run_process, same_result

from flashvideo_core.checkpoint import load_transformer, open_weights
from flashvideo_core.cli.components import find_components
from flashvideo_core.cli.main import main
from flashvideo_core.cli.options import ComponentOptions
from flashvideo_core.components import COMPONENTS
from flashvideo_core.convert import convert
from flashvideo_core.sampling import make_draw_noise, sample_stage2
from flashvideo_core.schedule import add_noise, stage2_times, zero_snr_sqrt_alphas
from flashvideo_core.solvers import euler_flow
from flashvideo_core.training import drafts, teacher
from flashvideo_core.training.cache import read_tensor, write_tensor
from flashvideo_core.training.distill_options import find_evaluations, resolve_distill_options
from flashvideo_core.training.drafts import CachedDraft
from flashvideo_core.training.loss_log import read_log
from flashvideo_core.training.losses import distill_loss
from flashvideo_core.training.randomness import step_generator
from flashvideo_core.training.segments import sample_segments
from flashvideo_core.training.teacher import CachedLesson, trace_states

SMALL = ["--size", "32x48", "--draft-size", "16x32", "--frames", "5", "--rank", "2", "--lr", "0.01", "--cfg", "4"]
QUIET = ["--sample-every", "0", "--save-every", "2"]
PROMPTS = 'the red circle moves left\n{"prompt": "the blue square", "seed": 5}\n'


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """Prompts, clips, the weights' options, and a cache that the first run fills."""
    folder = tmp_path_factory.mktemp("distill")
    (folder / "prompts.txt").write_text(PROMPTS)
    write_data_set(folder / "clips")
    return folder


def command(base: Path, folder: Path, *more, steps: int = 6) -> list[str]:
    places = ["--prompts", base / "prompts.txt", "--folder", folder, "--cache", base / "cache"]
    return list(map(str, ["train", "distill", *places, *weight_options(base), *SMALL, *QUIET, "--steps", steps, *more]))


@pytest.fixture(scope="module")
def whole(base, tmp_path_factory) -> Path:
    """An uninterrupted run as LoRA."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main(command(base, folder, "--sample-every", "6")) == 0
    return folder


def small_options(**given):
    defaults = {"size": (64, 96), "frames": 5, "cfg": 4.0, "batch": 2, "steps": 12}
    return resolve_distill_options(open_weights(STAGE2).config, None, **(defaults | given))


@pytest.fixture(scope="module")
def traced() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The golden stage 2 as a teacher: its states, the end by its sampler, the start by its formula, the text."""
    options, dit = small_options(), load_transformer(STAGE2)
    torch.manual_seed(3)
    z_ref, txt, settings = torch.randn(1, 16, 2, 8, 12), torch.randn(1, 5, 32), replace(options.teacher, seed=7)
    noise = make_draw_noise(7)(z_ref)
    end = sample_stage2(dit, z_ref, txt, noise=noise, steps=4, cfg=4.0, shift=settings.shift, ref_step=675)
    start = add_noise(dit.config.latent_scale * z_ref, noise, float(zero_snr_sqrt_alphas()[675]))
    return trace_states(dit, z_ref, txt, settings), end * dit.config.latent_scale, start, txt


def test_the_states_are_those_of_the_sampler(traced):
    states, end, start, _ = traced
    assert states.shape == (5, 16, 2, 8, 12)
    assert torch.equal(states[:1], start)
    torch.testing.assert_close(states[-1:], end, atol=1e-5, rtol=1e-5)


def test_the_first_target_is_the_guided_velocity(traced):
    """One evaluation of the student: uncond + cfg (cond - uncond) of the teacher at the same state."""
    states, _, _, txt = traced
    dit, times = partial(load_transformer(STAGE2), ref_step=675), stage2_times(4, 2.5)
    for i in range(4):
        t = 1000 * (1 - times[i : i + 1])
        cond, uncond = dit(states[i : i + 1], t, txt), dit(states[i : i + 1], t, torch.zeros_like(txt))
        guided = uncond + 4.0 * (cond - uncond)
        asked = []

        def student(x, timestep, txt, ref_step, guided=guided, asked=asked):
            asked.append((timestep, ref_step))
            return guided

        ends = (times[i : i + 1], times[i + 1 : i + 2])
        loss = distill_loss(student, states[i : i + 1], states[i + 1 : i + 2], ends, txt, 675, edges=1.0)
        assert float(loss) < 1e-5 * float(guided.square().mean())
        torch.testing.assert_close(asked[0][0], t)
        assert asked[0][1] == 675


@pytest.mark.parametrize("evaluations", [1, 2, 4])
def test_a_student_without_loss_ends_where_its_teacher_does(traced, evaluations):
    states, end, start, txt = traced
    stride, grid = 4 // evaluations, stage2_times(4, 2.5)

    def student(x, timestep, txt, ref_step):
        """The velocity that the loss wants, of the segment that begins at this time."""
        i = int((1000 * (1 - grid) - timestep).abs().argmin())
        return ((states[i + stride] - states[i]) / (grid[i + stride] - grid[i]))[None]

    for i in range(0, 4, stride):
        ends = (grid[i : i + 1], grid[i + stride : i + stride + 1])
        loss = distill_loss(student, states[i : i + 1], states[i + stride : i + stride + 1], ends, txt, 675)
        assert float(loss) < 1e-10
    velocity = lambda x, t: student(x, torch.tensor([1000 - 1000 * t]), txt, 675)  # noqa: E731
    torch.testing.assert_close(euler_flow(velocity, start, stage2_times(evaluations)), end, atol=1e-4, rtol=1e-4)


def test_rounds_halve_the_evaluations_and_the_last_has_half_of_the_run():
    rounds = lambda options: [find_evaluations(options, step_generator(0, step)) for step in range(12)]  # noqa: E731
    assert rounds(small_options()) == [4, 4, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1]
    assert rounds(small_options(halvings=False)) == [1] * 12
    assert rounds(small_options(evaluations=2)) == [4] * 3 + [2] * 9
    assert rounds(small_options(evaluations=4)) == [4] * 12
    assert small_options(teacher_steps=6, evaluations=1).list_rounds() == [6, 2, 1]


@pytest.mark.parametrize("curriculum", ["full", "patches"])
def test_segments_are_crops_of_neighbouring_states(tmp_path, curriculum):
    """Every number of the states tells which it is; patches begin at even rows and columns."""
    t, y, x = torch.meshgrid(torch.arange(5.0), torch.arange(8.0), torch.arange(12.0), indexing="ij")
    states = (100 * t + 10 * y + x)[:, None, None].expand(5, 16, 2, 8, 12)
    write_tensor(tmp_path / "s.safetensors", "states", states.half())
    write_tensor(tmp_path / "t.safetensors", "txt", torch.ones(5, 32))
    draft = CachedDraft(tmp_path / "none", tmp_path / "t.safetensors", 2, (8, 12))
    options = small_options(curriculum=curriculum, patch=(32, 48), evaluations=2, halvings=False)
    corners, grid = set(), stage2_times(4, 2.5)
    for step in range(12):
        way = sample_segments(
            [CachedLesson(draft, (tmp_path / "s.safetensors",))], options, step_generator(0, step), slice(None)
        )
        assert torch.equal(way.end - way.start, torch.full_like(way.start, 200.0))
        for b in range(2):
            first, rest = divmod(float(way.start[b].min()), 100)
            assert first in (0, 2) and way.times[0][b] == grid[int(first)] and way.times[1][b] == grid[int(first) + 2]
            corners.add(divmod(rest, 10))
    assert way.start.shape[2:] == ((2, 8, 12) if curriculum == "full" else (2, 4, 6))
    assert all(row % 2 == 0 and column % 2 == 0 for row, column in corners)
    assert len(corners) == 1 if curriculum == "full" else len(corners) > 3


def test_a_run_leaves_its_lora_its_log_and_a_sample(whole):
    assert [step for step, _ in read_log(whole / "loss.csv")] == list(range(6))
    assert (whole / "samples/step-00000006.mp4").exists()
    tensors, said = opened(whole / "lora.safetensors")
    assert tensors["diffusion_model.blocks.0.qkv.lora_B.weight"].abs().max() > 0
    assert (said["stage"], said["evaluations"]) == ("2", "1") and '"cfg": 4.0' in said["teacher"]


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_merged_or_at_run_time_it_is_the_same_student(whole, tmp_path, strength):
    """At half its strength it is no student, and keeps the defaults."""
    convert(STAGE2, tmp_path / "student.safetensors", "float32", lora=whole / "lora.safetensors", strength=strength)
    merged, teacher = load_transformer(tmp_path / "student.safetensors"), load_transformer(STAGE2)
    student = load_transformer(STAGE2, lora=whole / "lora.safetensors")
    wanted = (
        student.state_dict()
        if strength == 1
        else {name: torch.lerp(p, student.state_dict()[name], 0.5) for name, p in teacher.state_dict().items()}
    )
    assert (merged.blocks[0].qkv.weight - teacher.blocks[0].qkv.weight).abs().max() > 0
    for name, p in merged.state_dict().items():
        torch.testing.assert_close(p, wanted[name], atol=1e-6, rtol=1e-6)
    assert (merged.config == student.config) == (strength == 1) and student.config.defaults.steps == 1
    assert (merged.config == teacher.config) == (strength != 1)


def test_the_command_line_takes_it_for_a_run_and_records_it(whole, base):
    names = dict(zip(("stage1", "stage2", "vae", "text"), weight_options(base)[1::2], strict=False))
    named = {"t5": None, "embeddings": None, "device": "cpu", "dtype": None, "attention": None}
    options = ComponentOptions(**names, **named, lora=str(whole / "lora.safetensors"))
    components = find_components(options, COMPONENTS, print)
    defaults = components.configs["stage2"].defaults
    assert (defaults.steps, defaults.cfg) == (1, 1.0) and components.hashes["lora"]["file"] == "lora.safetensors"
    assert components.load(lambda *step: None).stage2.config == components.configs["stage2"]
    assert "lora" not in find_components(options, ("stage1", "vae", "text"), print).files


def test_with_a_full_cache_nothing_but_the_student_is_loaded(base, whole, tmp_path, capsys, monkeypatch):
    def forbidden(*args, **how):
        raise AssertionError("loaded")

    for module, name in ((drafts, "load_transformer"), (drafts, "load_vae"), (teacher, "load_transformer")):
        monkeypatch.setattr(module, name, forbidden)
    code, _, err = run(capsys, *command(base, tmp_path / "run"))
    assert code == 0, err
    same_result(tmp_path / "run", whole)


def test_it_goes_on_from_a_state_bit_for_bit(base, whole, tmp_path, capsys):
    """From step 4, within the last round; a state is written whole, so that is where a kill leaves a run."""
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    shutil.copyfile(folder / "state-00000004.pt", folder / "state.pt")
    (folder / "lora.safetensors").unlink()
    code, _, err = run(capsys, *command(base, folder))
    assert code == 0, err
    same_result(folder, whole)


def test_all_weights_become_a_stage_2_that_runs_as_the_student(base, tmp_path, capsys):
    code, _, err = run(capsys, *command(base, tmp_path / "run", "--mode", "full", "--evaluations", "2", steps=2))
    assert code == 0, err
    config, before = open_weights(tmp_path / "run/stage2.safetensors").config, open_weights(STAGE2).config
    assert config == replace(before, defaults=replace(before.defaults, steps=2, cfg=1.0))


def test_clips_of_any_kind_are_drafts_too(base, tmp_path, capsys):
    """The two videos, of which none is as large as what they are refined to; a picture is no clip of 5 frames."""
    words = command(base, tmp_path / "run", "--variants", "2", steps=2)
    words[words.index("--prompts") : words.index("--prompts") + 2] = ["--data", str(base / "clips")]
    words[words.index("--size") + 1] = "96x160"  # a picture is 64x96, the clips 64x96 and 96x128
    words[words.index("--cache") + 1] = str(tmp_path / "cache")
    code, _, err = run(capsys, *words, "--curriculum", "patches")
    assert code == 0, err
    references = [read_tensor(path) for path in (tmp_path / "cache/references").iterdir()]
    assert sorted(z.shape[1:] for z in references)[-1] == (2, 12, 20)
    states = [load_file(path)["states"] for path in (tmp_path / "cache/states").iterdir()]
    assert len(states) == 2 * len(references) and all(state.shape[0] == 5 for state in states)


WRONG = {
    "give either --prompts, from which stage 1": [],
    "evaluations is 3; it must divide the 4 of the teacher": ["--prompts", "{base}/prompts.txt", "--evaluations", "3"],
    "evaluations is 8; it must divide": ["--prompts", "{base}/prompts.txt", "--evaluations", "8"],
    "evaluations is 0; it must divide": ["--prompts", "{base}/prompts.txt", "--evaluations", "0"],
    "steps is 0; stage 2 needs at least 1": ["--prompts", "{base}/prompts.txt", "--teacher-steps", "0"],
    "cfg is nan; it must be a finite number": ["--prompts", "{base}/prompts.txt", "--cfg", "nan"],
    "edges is -1; it must be 0 or a positive number": ["--prompts", "{base}/prompts.txt", "--edges", "-1"],
    "rank is 0; it must be at least 1": ["--prompts", "{base}/prompts.txt", "--rank", "0"],
    "variants is 0; it must be at least 1": ["--prompts", "{base}/prompts.txt", "--variants", "0"],
    "nowhere.txt cannot be read": ["--prompts", "nowhere.txt"],
    "is neither a folder of clips nor a .csv": ["--data", "nowhere"],
    "training reads many captions: give --t5 or --text": ["--embeddings", "e.safetensors"],
    "--lora is for a run; to train on from it": ["--prompts", "{base}/prompts.txt", "--lora", "l.safetensors"],
}


@pytest.mark.parametrize("said", WRONG)
def test_bad_input_is_one_line(base, tmp_path, capsys, said):
    given = [word.format(base=base) for word in WRONG[said]]
    named = () if "--embeddings" in given else weight_options(base)
    code, out, err = run(capsys, "train", "distill", "--folder", tmp_path / "run", *named, *given)
    assert (code, out) == (2, ""), err
    assert err.splitlines()[-1].startswith("error: ") and said in err.splitlines()[-1]
    assert "Traceback" not in err


def test_a_folder_of_another_run_is_refused(base, whole, capsys):
    code, _, err = run(capsys, *command(base, whole, "--evaluations", "2"))
    assert code == 2
    assert err.splitlines()[-1].endswith("holds another run: evaluations is 1 there, 2 here; choose another")


def test_two_processes_distill_what_one_does(base, whole, tmp_path):
    """torchrun with gloo and FSDP2, each process one row of two; in float32 on every CPU (test_finetune.py).

    Adam divides by a gradient's size, so a weight whose gradient is rounding goes either way (test_distributed.py), and
    LoRA's first factor has a gradient in proportion to its second, which begins at zero. At a small rate that is little
    beside the other gradients; the weights are compared in parts of a step, but for one in a thousand.
    """
    rate = 1e-5
    more = ["--batch", "2", "--lr", str(rate), "--sample-every", "3"]
    one, two = (command(base, tmp_path / name, *more, steps=3) for name in ("one", "two"))
    done = run_process(*one, env=FLOAT32_ONLY)
    assert done.returncode == 0, done.stderr
    done = run_process(*two, processes=2, env=FLOAT32_ONLY)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'two/lora.safetensors'}\n"
    (wanted, said), (ours, ours_said) = (opened(tmp_path / name / "lora.safetensors") for name in ("one", "two"))
    assert said == ours_said
    assert difference(wanted, ours) <= FLOAT32
    a, b = (tensors(next((tmp_path / name).rglob("state.pt"))) for name in ("one", "two"))
    assert all(difference(a[kind], b[kind]) <= FLOAT32 for kind in ("exp_avg", "exp_avg_sq"))
    off = torch.cat([(a - ours[name]).abs().flatten() for name, a in wanted.items()]).sort().values
    moved = torch.cat([a.flatten() for name, a in wanted.items() if name.endswith("lora_B.weight")])
    assert moved.abs().median() > rate
    assert off[-len(off) // 1000] <= 0.05 * rate
