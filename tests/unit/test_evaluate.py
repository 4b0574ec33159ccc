"""`evaluate`: its path against the product's."""

import json
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from flashvideo_core.checkpoint import make_metadata
from flashvideo_core.cli.shard import Shard
from flashvideo_core.components import Pipeline
from flashvideo_core.config import STAGE1, STAGE2, SamplingDefaults, TextConfig, VAEConfig
from flashvideo_core.dit import Transformer
from flashvideo_core.pipeline import Draft, draft, refine
from flashvideo_core.text import WordEncoder, make_word_encoder
from flashvideo_core.tiny.captions import build_vocabulary
from flashvideo_core.tiny.detectors import detect
from flashvideo_core.tiny.evaluate import evaluate, evaluate_ablation, list_tasks
from flashvideo_core.tiny.evaluate_drafts import Stage2Variant, get_refine_settings, refine_latent, refine_with_all
from flashvideo_core.tiny.evaluate_rendered import get_default_setting, score_rendered
from flashvideo_core.tiny.evaluate_windows import evaluate_windows
from flashvideo_core.tiny.extent import FULL, Extent
from flashvideo_core.tiny.held_out import sample_held_out
from flashvideo_core.tiny.kept import run_tasks
from flashvideo_core.tiny.quality import compute_psnr, match_low_frequencies, measure_sharpness
from flashvideo_core.tiny.report import report, report_ablation, report_windows
from flashvideo_core.tiny.scores import (
    downsample,
    name_attributes,
    render_frames,
    score_against,
    score_drafts,
    upsample,
)
from flashvideo_core.vae import VAE
from flashvideo_core.windows import Window

SMALL, LARGE = (16, 32), (32, 64)
FEW = Extent(prompts=3, refined=2, clips=2, swept=1)
FEWEST = Extent(2, 1, 1, 1, 1, evaluations=(4, 8), noise_steps=(30,), guidance=(1.0,))


WIDTHS = {"layers": 1, "hidden": 64, "time_dim": 32, "text_dim": 16, "text_length": 4, "latent_scale": 1.0}


def stage(released, size, seed, **defaults):
    torch.manual_seed(seed)
    defaults = SamplingDefaults(size=size, frames=17, cfg=1.5, guidance="constant", **defaults)
    return Transformer(replace(released, **WIDTHS, defaults=defaults)).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def pipe():
    torch.manual_seed(0)
    vae = VAE(VAEConfig(channels=4, multipliers=(1, 1, 1, 1), blocks=1, groups=2)).eval().requires_grad_(False)
    words = list(build_vocabulary())
    text = make_word_encoder(WordEncoder(TextConfig(len(words), 32, 1, slots=4)).eval(), words)
    stage1 = stage(STAGE1, SMALL, 1, steps=3)
    stage2 = stage(STAGE2, LARGE, 2, steps=2, ref_step=600, motion="medium motion")
    widen = torch.nn.Linear(32, 16)
    return Pipeline(stage1, stage2, vae, lambda prompt: widen(text(prompt)).detach())


@pytest.fixture(scope="module")
def ablation(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ablation")
    for seed, name in enumerate(("none", "pixel", "pixel-latent")):
        dit = stage(STAGE2, LARGE, 10 + seed, steps=2, ref_step=600, motion="medium motion")
        save_file(dit.state_dict(), folder / f"{name}.safetensors", make_metadata(dit.config))
    return folder


@pytest.fixture(scope="module")
def result(pipe, ablation):
    return evaluate(pipe, FEW, ablation=ablation)


def test_refined_is_what_the_pipeline_makes(pipe):
    d = draft(pipe, "a red ball moves left", seed=3)
    clips = dict(refine_with_all(d, [Stage2Variant("stage 2", pipe), Stage2Variant("other", pipe, {"ref_step": 300})]))
    assert torch.equal(clips["stage 2"], refine(pipe, d).frames)
    assert torch.equal(clips["other"], refine(pipe, d, ref_step=300).frames)
    assert not torch.equal(clips["stage 2"], clips["other"])


def test_the_first_latent_frames_decode_as_in_the_whole_clip(pipe):
    z_ref = torch.randn(1, 16, 5, 4, 8, generator=torch.Generator().manual_seed(0))
    settings = get_refine_settings(pipe)
    whole = refine_latent(pipe, z_ref, "a red ball", settings)
    assert torch.equal(refine_latent(pipe, z_ref, "a red ball", settings, 3), whole[:9])


def test_drafts_and_refinements_are_scored_as_the_pipeline_made_them(pipe, result):
    asked = sample_held_out(3, 1)
    drafts = [draft(pipe, a.prompt, seed=i) for i, a in enumerate(asked)]
    assert result["drafts"] == score_drafts(asked, [name_attributes(detect(d.frames)) for d in drafts])
    rows = {row["name"]: row for row in result["refined"]["rows"]}
    assert list(rows) == ["upsampled draft", "stage 2", "none", "pixel", "pixel + latent"]
    clips = [refine(pipe, d).frames for d in drafts[:2]]
    assert rows["stage 2"]["edges"] == pytest.approx(sum(map(measure_sharpness, clips)) / 2)
    match = [match_low_frequencies(clip, d.frames) for clip, d in zip(clips, drafts, strict=False)]
    assert rows["stage 2"]["low_frequency"] == pytest.approx(sum(match) / 2)
    assert result["refined"]["count"] == 2 and result["refined"]["note"] is None


def test_the_ablated_weights_are_run_as_they_were_trained(pipe, result):
    """Those without latent noise at noise step 0, the other in the middle of the steps that it learnt from."""
    for seed, name, ref_step in ((10, "none", 0), (11, "pixel", 0), (12, "pixel + latent", 300)):
        dit = stage(STAGE2, LARGE, seed, steps=2, ref_step=600, motion="medium motion")
        drafts = [draft(pipe, a.prompt, seed=i) for i, a in enumerate(sample_held_out(2, 1))]
        edges = [measure_sharpness(refine(replace(pipe, stage2=dit), d, ref_step=ref_step).frames) for d in drafts]
        found = next(row["edges"] for row in result["refined"]["rows"] if row["name"] == name)
        assert found == pytest.approx(sum(edges) / 2)


def test_the_ablation_alone_has_the_rows_that_it_has_among_others(pipe, ablation, result):
    found = evaluate_ablation(replace(pipe, stage2=None), ablation, clips=2)
    assert found["refined"]["rows"] == [row for row in result["refined"]["rows"] if row["name"] != "stage 2"]
    assert found["verdicts"] == result["verdicts"][-2:]
    assert [verdict["claim"].split()[0] for verdict in found["verdicts"]] == ["degradation", "pixel"]
    assert set(report_ablation(found).splitlines()) <= set(report(result).splitlines())
    with pytest.raises(ValueError, match="clips is 0"):
        evaluate_ablation(pipe, ablation, clips=0)


def test_rendered_clips_are_refined_as_the_pipeline_refines_a_draft_of_them(pipe, result):
    """The sweeps of two clips see the first; the rows see both."""
    found = {(row["steps"], row["ref_step"]): row for row in result["held_out"]["noise_steps"]}
    a = sample_held_out(2, 2)[0]
    original = render_frames(a.scene, LARGE, 17)
    small = downsample(original, SMALL).permute(3, 0, 1, 2)[None]
    with torch.no_grad():
        seen = (pipe.vae.decode(pipe.vae.encode(small * 2 - 1))[0].permute(1, 2, 3, 0) + 1) / 2
    clean = small[0].permute(1, 2, 3, 0)
    clip = refine(pipe, Draft(a.prompt, seen), ref_step=300).frames[:9]
    assert found[2, 300]["psnr"] == pytest.approx(compute_psnr(clip, original[:9]))
    assert found[2, 300]["edges"] == pytest.approx(measure_sharpness(clip))
    scores = score_rendered(pipe, a, 0, {get_default_setting(pipe)}, 3)["rows"]
    clip = refine(pipe, Draft(a.prompt, clean)).frames[:9]
    assert scores["refined, from clean frames"] == pytest.approx(score_against(original, clip))
    assert scores["bilinear, from clean frames"] == pytest.approx(score_against(original, upsample(clean[:9], LARGE)))
    assert scores["bilinear"] == pytest.approx(score_against(original, upsample(seen[:9], LARGE)))


def test_the_sweeps_cover_what_was_wanted_and_meet_in_the_default(result):
    found = result["held_out"]
    assert [row["steps"] for row in found["evaluations"]] == list(FULL.evaluations)
    assert [row["ref_step"] for row in found["noise_steps"]] == sorted({*FULL.noise_steps, 600})
    assert [row["cfg"] for row in found["guidance"]] == sorted({*FULL.guidance, 1.5})
    shared = [row for row in found["evaluations"] if row["steps"] == 2]
    assert shared == [row for row in found["noise_steps"] if row["ref_step"] == 600]
    assert shared == [row for row in found["guidance"] if row["cfg"] == 1.5]
    names = ["original", "original through the VAE", "bilinear", "refined"]
    clean = ["bilinear, from clean frames", "refined, from clean frames"]
    assert [row["name"] for row in found["rows"]] == names + clean
    assert (found["count"], found["sweep_count"], found["frames"]) == (2, 1, 9)


def test_the_result_is_json(result):
    assert json.loads(json.dumps(result, allow_nan=False))["verdicts"] == result["verdicts"]


def test_without_a_folder_the_ablation_is_a_note_and_every_clip_is_reported(pipe):
    seen = []
    found = evaluate(pipe, FEWEST, callback=lambda *what: seen.append(what))
    assert [row["name"] for row in found["refined"]["rows"]] == ["upsampled draft", "stage 2"]
    assert "--ablation" in found["refined"]["note"] and found["refined"]["note"] in report(found)
    assert [v["holds"] for v in found["verdicts"] if v["holds"] is None] == [None, None]
    phases = {"drafts": 2, "refined drafts": 1, "rendered clips": 1}
    assert seen == [(phase, i + 1, n, None) for phase, n in phases.items() for i in range(n)]


def test_raising_in_the_callback_stops(pipe):
    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(pipe, FEW, callback=stop)


def test_bad_input_is_one_line_before_the_first_draft(pipe, ablation, tmp_path):
    def started(*_):
        raise AssertionError("a draft was made")

    with pytest.raises(ValueError, match="prompts is 0"):
        Extent(prompts=0)
    with pytest.raises(ValueError, match="clips is -1"):
        Extent(clips=-1)
    with pytest.raises(ValueError, match=r"none\.safetensors"):
        evaluate(pipe, ablation=tmp_path, callback=started)
    dit = stage(STAGE1, SMALL, 0)
    for name in ("none", "pixel", "pixel-latent"):
        save_file(dit.state_dict(), tmp_path / f"{name}.safetensors", make_metadata(dit.config))
    with pytest.raises(ValueError, match="stage1; stage2 is needed"):
        evaluate(pipe, ablation=tmp_path, callback=started)


def test_the_report_of_a_real_result_names_every_row(result):
    text = report(deepcopy(result))
    for row in [*result["refined"]["rows"], *result["held_out"]["rows"]]:
        assert f"| {row['name']} |" in text
    for verdict in result["verdicts"]:
        assert verdict["claim"] in text and verdict["found"] in text


def test_windows_of_attention_are_measured_beside_dense_attention(pipe):
    """One that holds all 2x4 tokens drifts by rounding alone."""
    result = evaluate_windows(pipe, [Window(2, 4), Window(1, 2)], clips=1)
    rows = [(row["window"], row["dense_evaluations"]) for row in result["rows"]]
    assert rows == [("dense", 0), ("2x4", 0), ("2x4", 1), ("1x2", 0), ("1x2", 1)]
    dense, *windows = result["rows"]
    drifts = [row["drift"] for row in windows]
    assert "drift" not in dense and min(drifts[:2]) > 100 > drifts[3] > drifts[2]
    assert report_windows(result).count("| 1x2 |") == 2 and json.loads(json.dumps(result)) == result


def test_processes_share_an_evaluation_and_one_tells_it(pipe, tmp_path):
    """What the processes of two shards have kept is all that the whole evaluation needs."""
    for shard in (Shard(0, 2), Shard(1, 2)):
        tasks = list_tasks(pipe, FEWEST, None, tmp_path)
        run_tasks({phase: shard.take(some) for phase, some in tasks.items()}, tmp_path)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "items").iterdir()}
    assert len(kept) == sum(map(len, tasks.values())) == 2 + 1 + 1
    assert json.dumps(evaluate(pipe, FEWEST, folder=tmp_path)) == json.dumps(evaluate(pipe, FEWEST))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "items").iterdir()} == kept
