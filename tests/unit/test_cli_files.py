"""`info` and `convert`: what files are, and weights in another form."""

import json

import pytest
import torch
from support.cli_run import STAGE1, STAGE2, VAE, component_options, read_events, run

from flashvideo_core.checkpoint import load_transformer
from flashvideo_core.config import STAGE1 as RELEASED
from flashvideo_core.dit import Transformer
from flashvideo_core.media.draft_file import save_draft
from flashvideo_core.media.video_writer import write_video
from flashvideo_core.memory import transformer_peak


def facts(capsys, *argv) -> dict:
    code, out, err = run(capsys, "info", *argv, "--json")
    assert (code, err) == (0, "")
    return read_events(out)[-1]


def test_stage_1_is_named_with_its_dimensions(capsys):
    found = facts(capsys, STAGE1)["files"][STAGE1]
    assert found["kind"] == "transformer of stage 1" and found["origin"] == "released"
    assert {name: found[name] for name in ("stage", "layers", "hidden", "heads", "text_dim", "time_dim")} == {
        "stage": 1,
        "layers": 2,
        "hidden": 128,
        "heads": 2,
        "text_dim": 32,
        "time_dim": 64,
    }
    assert found["dtype"] == "bfloat16" and found["lora"] == "rank 4 on 6 layers, merged when loaded"
    assert found["parameters"] == sum(p.numel() for p in load_transformer(STAGE1).parameters())
    code, out, _ = run(capsys, "info", STAGE1)
    assert code == 0 and out.startswith(f"{STAGE1}: transformer of stage 1\n")
    for line in ("  layers           2\n", "  hidden           128\n", "  text_dim         32\n", "guidance released"):
        assert line in out


def test_stage_2_and_the_vae(capsys):
    found = facts(capsys, STAGE2, VAE)["files"]
    assert (found[STAGE2]["stage"], found[STAGE2]["lora"]) == (2, None)
    assert found[STAGE2]["defaults"]["ref_step"] == 675
    assert (found[VAE]["kind"], found[VAE]["channels"], found[VAE]["dtype"]) == ("VAE", 32, "float16")


@pytest.mark.parametrize(("dtype", "named"), [("stored", "bfloat16"), ("float32", "float32"), ("fp8", "fp8")])
def test_what_convert_writes_is_ours_and_knows_its_source(dtype, named, tmp_path, capsys):
    target = tmp_path / "s.safetensors"
    code, out, err = run(capsys, "convert", STAGE1, target, "--dtype", dtype)
    assert code == 0 and out.startswith(f"{target}: ") and "convert: " in err
    found, source = facts(capsys, target)["files"][str(target)], facts(capsys, STAGE1)["files"][STAGE1]
    assert (found["origin"], found["dtype"], found["lora"]) == ("ours", named, None)
    assert len(found["source_sha256"]) == 64
    assert all(found[name] == source[name] for name in ("stage", "layers", "hidden", "parameters", "defaults"))


def test_drafts_embeddings_and_videos(tmp_path, capsys):
    save_draft(tmp_path / "d.safetensors", torch.zeros(1, 16, 5, 4, 6), {"prompt": "a red ball"})
    write_video(tmp_path / "v.mp4", torch.zeros(3, 32, 48, 3), 12)
    text = component_options(tmp_path)[7]
    found = facts(capsys, tmp_path / "d.safetensors", tmp_path / "v.mp4", text)["files"].values()
    draft, video, embeddings = found
    assert draft == {"kind": "draft", "frames": 17, "height": 32, "width": 48, "prompt": "a red ball"}
    assert video == {"kind": "video", "frames": 3, "height": 32, "width": 48, "fps": 12.0, "sound": False}
    assert embeddings == {"kind": "embeddings", "stage1": [1, 10, 32], "stage2": [1, 10, 32]}


def test_a_clip_shows_its_record(tmp_path, capsys):
    record = {"prompt": "p", "stage1": {"seed": 3}, "stage2": {"seed": 4}, "weights": {}}
    write_video(tmp_path / "c.mp4", torch.zeros(1, 32, 48, 3), 8, metadata={"flashvideo": json.dumps(record)})
    (tmp_path / "clip.json").write_text(json.dumps(record))
    for path in (tmp_path / "c.mp4", tmp_path / "clip.json", tmp_path):
        found = facts(capsys, path)["files"][str(path)]
        assert found["kind"] == "clip" and {name: found[name] for name in record} == record


def test_the_plan_of_the_released_sizes(capsys):
    plan = facts(capsys, "--plan", "--device", "cpu", "--dtype", "bf16")["plan"]
    phases = {phase["phase"]: phase for phase in plan["phases"]}
    assert list(phases) == ["stage1", "draft_decode", "handoff", "stage2", "decode"]
    with torch.device("meta"):
        assert phases["stage1"]["weights"] == 2 * sum(p.numel() for p in Transformer(RELEASED).parameters())
    assert phases["stage1"]["tokens"] == 226 + 13 * 16 * 30
    assert phases["stage2"]["tokens"] == 226 + 13 * 67 * 120
    assert phases["stage1"]["work"] == transformer_peak(RELEASED, 2, (13, 32, 60), 2)
    assert (phases["decode"]["height"], phases["decode"]["width"]) == (1072, 1920)


def test_the_plan_of_other_sizes_and_weights(capsys):
    options = ["--plan", "--stage1", STAGE1, "--vae", VAE, "--frames", "5", "--height", "32", "--width", "48"]
    phases = facts(capsys, *options, "--size", "64x96", "--device", "cpu")["plan"]["phases"]
    assert [phase["frames"] for phase in phases] == [5] * 5
    assert phases[0]["tokens"] == 226 + 2 * 2 * 3 and phases[0]["weights"] == 4 * 647104
    assert (phases[4]["height"], phases[4]["cut"]) == (64, None)
    code, out, _ = run(capsys, "info", *options)
    assert code == 0 and "memory plan on" in out and "in one piece" in out


def test_the_plan_says_when_guidance_takes_two_passes(capsys, monkeypatch):
    monkeypatch.setattr("flashvideo_core.cli.info.free_memory", lambda device: 12_000_000_000)
    code, out, _ = run(capsys, "info", "--plan", "--device", "cpu", "--dtype", "bf16")
    lines = {line.split()[0]: line for line in out.splitlines() if line.startswith("  ")}
    assert code == 0 and lines["stage1"].endswith("guidance in two passes")
    assert lines["stage2"].endswith("guidance in one batch") and "in tiles of " in lines["decode"]
