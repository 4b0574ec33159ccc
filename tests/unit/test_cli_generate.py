"""`generate` and `draft`: what is written, said, skipped, kept and made again."""

import json
from pathlib import Path

import pytest
import torch
from support.cli_run import (
    SMALL,
    STAGE1,
    STAGE2,
    VAE,
    component_options,
    interrupt_when,
    list_files,
    read_events,
    run,
    show_same_frames,
)

from flashvideo_core.cli.main import main
from flashvideo_core.cli.record import Record
from flashvideo_core.media.draft_file import load_draft
from flashvideo_core.media.video_reader import read_video
from flashvideo_core.media.video_writer import put_side_by_side
from flashvideo_core.pipeline import load_pipeline
from flashvideo_core.weights.reader import file_sha256

FOLDER = {"draft.safetensors", "draft.mp4", "final.mp4", "side_by_side.mp4", "clip.json"}
PROMPT = "a red ball, moving left \N{EM DASH} \u00e9"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tmp_path_factory.mktemp("base")


@pytest.fixture(scope="module")
def components(base):
    return component_options(base)


@pytest.fixture(scope="module")
def clip(base, components):
    """A finished clip; never changed by a test."""
    assert (
        main(["generate", PROMPT, *components, *SMALL, "--crf", "1", "--seed", "7", "--output", str(base / "clip")])
        == 0
    )
    return base / "clip"


def test_the_folder_holds_a_clip_and_how_it_was_made(clip):
    assert list_files(clip) == FOLDER
    record = json.loads((clip / "clip.json").read_text("utf-8"))
    assert record["prompt"] == PROMPT
    first, second = record["stage1"], record["stage2"]
    assert (first["seed"], first["frames"], first["height"], first["width"], first["steps"]) == (7, 5, 32, 48, 3)
    assert (first["cfg"], first["guidance"]) == (8.0, "released")  # defaults of released weights
    assert (second["seed"], second["height"], second["width"], second["steps"]) == (7, 64, 96, 2)
    assert (second["cfg"], second["shift"], second["ref_step"]) == (13.0, 2.5, 675)
    for component, path in {"stage1": STAGE1, "stage2": STAGE2, "vae": VAE}.items():
        assert record["weights"][component] == {"file": Path(path).name, "sha256": file_sha256(path)}
        assert record["paths"][component] == str(Path(path).resolve())


def test_the_videos_show_the_clip_and_carry_its_record(clip):
    record = json.loads((clip / "clip.json").read_text("utf-8"))
    del record["paths"]  # where files lie is nobody else's business
    drawn, final, both = (read_video(clip / f"{name}.mp4") for name in ("draft", "final", "side_by_side"))
    assert drawn.frames.shape == (5, 32, 48, 3)
    assert final.frames.shape == (5, 64, 96, 3)
    assert drawn.fps == final.fps == both.fps == 8
    assert json.loads(final.metadata["flashvideo"]) == json.loads(both.metadata["flashvideo"]) == record
    assert json.loads(drawn.metadata["flashvideo"]) == Record.from_json(record).of_draft().to_json()
    assert final.metadata["comment"] == PROMPT
    expected = put_side_by_side(drawn.frames, final.frames)
    assert both.frames.shape == expected.shape == (5, 64, 192, 3)
    assert (luma(both.frames) - luma(expected)).square().mean() < 1e-4


def test_the_saved_draft_is_what_the_draft_video_shows(clip):
    latent, record = load_draft(clip / "draft.safetensors")
    assert latent.shape == (1, 16, 2, 4, 6)
    assert record["prompt"] == PROMPT and record["stage1"]["seed"] == 7
    frames = load_pipeline(vae=VAE, device="cpu").vae.decode(latent)
    shown = read_video(clip / "draft.mp4").frames
    assert (luma((frames[0].permute(1, 2, 3, 0) + 1) / 2) - luma(shown)).square().mean() < 1e-4


def test_from_makes_the_clip_again_bit_for_bit(clip, tmp_path, capsys):
    code, out, _ = run(capsys, "generate", "--from", clip / "clip.json", "--output", tmp_path / "again")
    assert (code, out) == (0, f"{tmp_path / 'again' / 'final.mp4'}\n")
    assert list_files(tmp_path / "again") == FOLDER
    assert (tmp_path / "again/draft.safetensors").read_bytes() == (clip / "draft.safetensors").read_bytes()
    assert show_same_frames(tmp_path / "again/final.mp4", clip / "final.mp4")
    assert (tmp_path / "again/clip.json").read_bytes() == (clip / "clip.json").read_bytes()


def test_from_takes_a_video_and_what_is_named_anew(clip, components, tmp_path, capsys):
    """A video has no paths in it, so the weights are named; --seed is new, so both stages change."""
    run(capsys, "generate", "--from", clip / "final.mp4", *components, "--seed", "8", "--output", tmp_path / "new")
    record, old = (json.loads((folder / "clip.json").read_text("utf-8")) for folder in (tmp_path / "new", clip))
    assert record["stage1"] == old["stage1"] | {"seed": 8}
    assert record["stage2"] == old["stage2"] | {"seed": 8}
    assert not show_same_frames(tmp_path / "new/draft.mp4", clip / "draft.mp4")


def test_from_refuses_weights_that_have_changed(clip, tmp_path, capsys):
    record = json.loads((clip / "clip.json").read_text("utf-8"))
    record["weights"]["stage2"]["sha256"] = "0" * 64
    (tmp_path / "clip.json").write_text(json.dumps(record), "utf-8")
    code, _, err = run(capsys, "generate", "--from", tmp_path / "clip.json", "--output", tmp_path / "out")
    assert code == 2 and err.startswith("error: stage2 has changed since the clip was made")
    assert not (tmp_path / "out").exists()


def test_a_finished_clip_is_left_as_it_is_and_another_one_is_made(components, tmp_path, capsys):
    command = ["generate", PROMPT, *components, *SMALL, "--output", tmp_path / "c"]
    run(capsys, *command)
    before = stamps(tmp_path / "c")
    code, _, err = run(capsys, *command)
    assert code == 0 and "already finished" in err and "stage" not in err
    assert stamps(tmp_path / "c") == before
    code, _, err = run(capsys, *command, "--refine-steps", "1")  # same draft, another refinement
    assert "going on from the finished draft" in err and "stage 1" not in err
    after = stamps(tmp_path / "c")
    assert after["draft.safetensors"] == before["draft.safetensors"]
    assert after["final.mp4"] != before["final.mp4"] and after["clip.json"] != before["clip.json"]


def test_a_prompt_file_makes_a_folder_a_line_and_goes_on_where_it_stopped(components, tmp_path, capsys):
    (tmp_path / "p.txt").write_bytes("\ufeffa red ball\r\n\n  a blue star \na red ball\n".encode())
    command = ["generate", "--prompts", tmp_path / "p.txt", *components, *SMALL, "--output", tmp_path / "out", "--json"]
    code, out, err = run(capsys, *command)
    made = read_events(out)[-1]["clips"]
    assert (code, err) == (0, "")
    assert [(c["prompt"], c["seed"], c["skipped"]) for c in made] == [
        ("a red ball", 0, False),
        ("a blue star", 0, False),
    ]
    assert all(list_files(Path(c["path"]).parent) == FOLDER for c in made)
    whole = same = Path(made[1]["path"])
    (whole.parent / "clip.json").unlink()  # as if it had been stopped at the very end
    before = stamps(tmp_path / "out")
    again = read_events(run(capsys, *command)[1])[-1]["clips"]
    assert [c["skipped"] for c in again] == [True, False]
    changed = {name for name, stamp in stamps(tmp_path / "out").items() if before.get(name) != stamp}
    assert changed == {str((same.parent / name).relative_to(tmp_path / "out")) for name in FOLDER - KEPT}


KEPT = {"draft.safetensors", "draft.mp4"}


def test_vbench_layout_holds_the_videos_it_reads_and_nothing_else(components, tmp_path, capsys):
    command = ["generate", "a ball, moving left.", *components, *SMALL, "--layout", "vbench", "--samples", "2"]
    command += ["--output", tmp_path / "v", "--seed", "3"]
    assert run(capsys, *command)[0] == 0
    assert {path.name for path in (tmp_path / "v").iterdir()} == {f"a ball, moving left.-{i}.mp4" for i in (0, 1)}
    seeds = [
        json.loads(read_video(tmp_path / "v" / f"a ball, moving left.-{i}.mp4").metadata["flashvideo"])["stage1"][
            "seed"
        ]
        for i in (0, 1)
    ]
    assert seeds == [3, 4]
    before = stamps(tmp_path / "v")
    assert run(capsys, *command)[2].count("already finished") == 2
    assert stamps(tmp_path / "v") == before


def test_draft_then_refine_is_generate(clip, components, tmp_path, capsys):
    chosen = [*SMALL[:6], *SMALL[8:10]]
    code, out, _ = run(
        capsys, "draft", PROMPT, *components, *chosen, "--crf", "1", "--seed", "7", "--output", tmp_path / "d"
    )
    assert (code, out) == (0, f"{tmp_path / 'd' / 'draft.safetensors'}\n")
    assert list_files(tmp_path / "d") == KEPT
    assert all((tmp_path / "d" / name).read_bytes() == (clip / name).read_bytes() for name in KEPT)
    before = stamps(tmp_path / "d")
    assert (
        "already finished"
        in run(capsys, "draft", PROMPT, *components, *chosen, "--crf", "1", "--seed", "7", "--output", tmp_path / "d")[
            2
        ]
    )
    assert stamps(tmp_path / "d") == before
    assert run(capsys, "refine", tmp_path / "d", *components, *SMALL[6:8], *SMALL[10:], "--crf", "1")[0] == 0
    assert list_files(tmp_path / "d") == FOLDER
    assert show_same_frames(tmp_path / "d/final.mp4", clip / "final.mp4")
    assert show_same_frames(tmp_path / "d/side_by_side.mp4", clip / "side_by_side.mp4")
    code, _, _ = run(capsys, "generate", "--from", tmp_path / "d", "--stage1", STAGE1, "--output", tmp_path / "g")
    assert code == 0 and show_same_frames(tmp_path / "g/final.mp4", clip / "final.mp4")


def test_converted_weights_give_the_same_clip_bit_for_bit(clip, components, tmp_path, capsys):
    converted = []
    for option, path in (("--stage1", STAGE1), ("--stage2", STAGE2), ("--vae", VAE)):
        target = tmp_path / f"{option[2:]}.safetensors"
        assert run(capsys, "convert", path, target, "--dtype", "float32")[0] == 0
        converted += [option, str(target)]
    out = tmp_path / "clip"
    code, _, _ = run(
        capsys, "generate", PROMPT, *converted, *components[6:], *SMALL, "--crf", "1", "--seed", "7", "--output", out
    )
    assert code == 0
    assert torch.equal(load_draft(out / "draft.safetensors")[0], load_draft(clip / "draft.safetensors")[0])
    for name in ("draft.mp4", "final.mp4", "side_by_side.mp4"):
        assert show_same_frames(out / name, clip / name)


def test_sizes_that_are_floored_are_said(components, tmp_path, capsys):
    small = [
        "--frames",
        "1",
        "--height",
        "40",
        "--width",
        "48",
        "--steps",
        "2",
        "--size",
        "33x49",
        "--refine-steps",
        "1",
    ]
    code, _, err = run(capsys, "generate", "x", *components, *small, "--output", tmp_path / "c")
    assert code == 0
    for line in ("height 40 is floored to 32", "height 33 is floored to 32", "width 49 is floored to 48"):
        assert line in err


def test_json_lines_end_with_the_result(components, tmp_path, capsys):
    code, out, err = run(
        capsys, "draft", "x", *components, *SMALL[:6], "--steps", "3", "--output", tmp_path / "c", "--json"
    )
    said = read_events(out)
    assert (code, err) == (0, "")
    steps = [(e["step"], e["total"]) for e in said if e["event"] == "progress" and e["phase"] == "stage1"]
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert said[-1] == {"event": "result", "drafts": [{k: v for k, v in said[-2].items() if k != "event"}]}


def test_ctrl_c_keeps_the_finished_draft_and_nothing_half_written(components, tmp_path, capsys):
    slow = [*SMALL[:10], "--refine-steps", "900"]
    command = ["generate", "x", *components, *slow, "--output", str(tmp_path / "c")]
    code, err = interrupt_when(command, tmp_path / "err", "hand-off")
    assert code == 130
    assert err.splitlines()[-1] == f"interrupted: the finished draft is kept in {tmp_path / 'c/draft.safetensors'}"
    assert "Traceback" not in err
    assert {path.name for path in (tmp_path / "c").iterdir()} == KEPT  # hidden files would be seen, too
    assert load_draft(tmp_path / "c/draft.safetensors")[1]["prompt"] == "x"
    code, _, err = run(capsys, *command, "--refine-steps", "1")
    assert code == 0 and "going on from the finished draft" in err and "stage 1" not in err
    assert list_files(tmp_path / "c") == FOLDER


def test_ctrl_c_in_stage_1_leaves_nothing(components, tmp_path):
    slow = [*SMALL[:8], "--steps", "900"]
    command = ["generate", "x", *components, *slow, "--output", str(tmp_path / "c")]
    code, err = interrupt_when(command, tmp_path / "err", "prompt")
    assert (code, err.splitlines()[-1]) == (130, "interrupted: stopped before anything was finished")
    assert list((tmp_path / "c").iterdir()) == []


def luma(frames: torch.Tensor) -> torch.Tensor:
    """What H.264 keeps at full resolution; at crf 1 nearly as it was."""
    return frames @ torch.tensor([0.2126, 0.7152, 0.0722])


def stamps(folder: Path) -> dict[str, int]:
    return {name: (folder / name).stat().st_mtime_ns for name in list_files(folder)}
