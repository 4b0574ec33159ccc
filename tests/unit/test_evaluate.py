"""`evaluate`: its judges on answers whose truth is known, its path against the product's, its verdicts."""

import json
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from flashvideo_core.checkpoint import make_metadata
from flashvideo_core.components import Pipeline
from flashvideo_core.config import STAGE1, STAGE2, SamplingDefaults, TextConfig, VAEConfig
from flashvideo_core.dit import Transformer
from flashvideo_core.pipeline import Draft, draft, refine
from flashvideo_core.text import WordEncoder, make_word_encoder, tokenize
from flashvideo_core.tiny.captions import build_vocabulary
from flashvideo_core.tiny.evaluate import evaluate, evaluate_ablation
from flashvideo_core.tiny.evaluate_drafts import Stage2Variant, get_refine_settings, refine_latent, refine_with_all
from flashvideo_core.tiny.evaluate_rendered import EVALUATIONS, NOISE_STEPS, score_rendered
from flashvideo_core.tiny.held_out import sample_held_out
from flashvideo_core.tiny.quality import compute_psnr, match_low_frequencies, measure_sharpness
from flashvideo_core.tiny.report import report, report_ablation
from flashvideo_core.tiny.scene import is_holdout
from flashvideo_core.tiny.scores import (
    downsample,
    render_frames,
    score_against,
    score_drafts,
    score_refined,
    upsample,
)
from flashvideo_core.tiny.verdicts import draw_verdicts
from flashvideo_core.vae import VAE

SMALL, FULL = (16, 32), (32, 64)


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
    stage2 = stage(STAGE2, FULL, 2, steps=2, ref_step=600, motion="medium motion")
    widen = torch.nn.Linear(32, 16)
    return Pipeline(stage1, stage2, vae, lambda prompt: widen(text(prompt)).detach())


@pytest.fixture(scope="module")
def ablation(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ablation")
    for seed, name in enumerate(("none", "pixel", "pixel-latent")):
        dit = stage(STAGE2, FULL, 10 + seed, steps=2, ref_step=600, motion="medium motion")
        save_file(dit.state_dict(), folder / f"{name}.safetensors", make_metadata(dit.config))
    return folder


@pytest.fixture(scope="module")
def result(pipe, ablation):
    return evaluate(pipe, prompts=3, clips=2, ablation=ablation)


# What is asked


def test_prompts_are_distinct_held_out_combinations_that_say_them():
    asked = sample_held_out(64, 1)
    combinations = [(a.scene.color, a.scene.shape, a.scene.motion) for a in asked]
    assert len(set(combinations)) == 64 and all(is_holdout(*c) for c in combinations)
    assert len({a.prompt for a in asked}) == 64
    assert not set(tokenize(" ".join(a.prompt for a in asked))) - set(build_vocabulary())
    assert sample_held_out(64, 1) == asked and sample_held_out(5, 1) == asked[:5] and sample_held_out(5, 2) != asked[:5]


def test_a_second_round_asks_each_combination_again_in_another_scene():
    asked = sample_held_out(128, 1)
    first, second = (
        {(a.scene.color, a.scene.shape, a.scene.motion) for a in part} for part in (asked[:64], asked[64:])
    )
    assert first == second and not {a.scene for a in asked[:64]} & {a.scene for a in asked[64:]}


# Judges


@pytest.fixture(scope="module")
def oracle():
    """What a perfect stage 1 would draw."""
    asked = sample_held_out(8, 1)
    return asked, [render_frames(a.scene, (64, 96), 17) for a in asked]


def test_an_oracle_is_right_and_a_shuffled_one_is_not(oracle):
    asked, clips = oracle
    right = score_drafts(asked, clips)
    assert min(right[name] for name in ("color", "shape", "motion", "all")) >= 0.95
    assert right["count"] == right["combinations"] == 8
    wrong = score_drafts(asked, clips[1:] + clips[:1])
    truth = [a.scene for a in asked]
    for name in ("color", "shape", "motion"):
        same = sum(getattr(a, name) == getattr(b, name) for a, b in zip(truth, truth[1:] + truth[:1], strict=True))
        assert wrong[name] == pytest.approx(same / 8, abs=0.05)
        assert sum(miss["attribute"] == name for miss in wrong["misses"]) == round(8 * (1 - wrong[name]))


def test_a_grey_clip_shows_nothing(oracle):
    asked, clips = oracle
    found = score_drafts(asked[:1], [torch.full_like(clips[0], 0.4)])
    assert (found["color"], found["shape"], found["motion"], found["all"]) == (0, 0, 0, 0)
    assert {miss["seen"] for miss in found["misses"]} == {"nothing"}


def test_a_true_refinement_is_sharper_and_matches_and_another_scene_does_not():
    a, b = sample_held_out(2, 1)
    original, other = (render_frames(x.scene, (128, 192), 17) for x in (a, b))
    small = downsample(original, (32, 48))
    true, blurred = score_refined(a.scene, original, small), score_refined(a.scene, upsample(small, (128, 192)), small)
    assert true["matching"] == blurred["matching"] == 1 and true["all"] == 1
    assert true["edges"] > 1.5 * blurred["edges"]
    assert score_refined(a.scene, other, small)["matching"] == 0


def test_against_the_original_counts_the_frames_of_the_clip():
    original = render_frames(sample_held_out(1, 1)[0].scene, (64, 96), 17)
    noise = 0.1 * torch.randn(original.shape, generator=torch.Generator().manual_seed(0))
    found = score_against(original, (original + noise)[:9])
    assert found["psnr"] == pytest.approx(20, abs=0.1)
    later = original.clone()
    later[9:] = 0
    assert score_against(later, (original + noise)[:9]) == found


# The path


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
    assert result["drafts"] == score_drafts(asked, [d.frames for d in drafts])
    rows = {row["name"]: row for row in result["refined"]["rows"]}
    assert list(rows) == ["upsampled draft", "none", "pixel", "pixel + latent", "stage 2"]
    clips = [refine(pipe, d).frames for d in drafts[:2]]
    assert rows["stage 2"]["edges"] == pytest.approx(sum(map(measure_sharpness, clips)) / 2)
    match = [match_low_frequencies(clip, d.frames) for clip, d in zip(clips, drafts, strict=False)]
    assert rows["stage 2"]["low_frequency"] == pytest.approx(sum(match) / 2)
    assert result["refined"]["count"] == 2 and result["refined"]["note"] is None


def test_the_ablated_weights_are_run_as_they_were_trained(pipe, result):
    """Those without latent noise at noise step 0, the other in the middle of the steps that it learnt from."""
    for seed, name, ref_step in ((10, "none", 0), (11, "pixel", 0), (12, "pixel + latent", 300)):
        dit = stage(STAGE2, FULL, seed, steps=2, ref_step=600, motion="medium motion")
        drafts = [draft(pipe, a.prompt, seed=i) for i, a in enumerate(sample_held_out(2, 1))]
        edges = [measure_sharpness(refine(replace(pipe, stage2=dit), d, ref_step=ref_step).frames) for d in drafts]
        found = next(row["edges"] for row in result["refined"]["rows"] if row["name"] == name)
        assert found == pytest.approx(sum(edges) / 2)


def test_the_ablation_alone_has_the_rows_that_it_has_among_others(pipe, ablation, result):
    found = evaluate_ablation(replace(pipe, stage2=None), ablation, clips=2)
    assert found["refined"]["rows"] == result["refined"]["rows"][:-1]
    (verdict,) = found["verdicts"]
    assert verdict in result["verdicts"] and verdict["claim"].startswith("degradation rows")
    assert set(report_ablation(found).splitlines()) <= set(report(result).splitlines())
    with pytest.raises(ValueError, match="clips is 0"):
        evaluate_ablation(pipe, ablation, clips=0)


def test_rendered_clips_are_refined_as_the_pipeline_refines_a_draft_of_them(pipe, result):
    """The sweeps of two clips see the first; the rows see both."""
    found = {(row["steps"], row["ref_step"]): row for row in result["held_out"]["noise_steps"]}
    a = sample_held_out(2, 2)[0]
    original = render_frames(a.scene, FULL, 17)
    small = downsample(original, SMALL).permute(3, 0, 1, 2)[None]
    with torch.no_grad():
        seen = (pipe.vae.decode(pipe.vae.encode(small * 2 - 1))[0].permute(1, 2, 3, 0) + 1) / 2
    clean = small[0].permute(1, 2, 3, 0)
    clip = refine(pipe, Draft(a.prompt, seen), ref_step=300).frames[:9]
    assert found[2, 300]["psnr"] == pytest.approx(compute_psnr(clip, original[:9]))
    assert found[2, 300]["edges"] == pytest.approx(measure_sharpness(clip))
    scores, _ = score_rendered(pipe, a, 0, set())
    clip = refine(pipe, Draft(a.prompt, clean)).frames[:9]
    assert scores["refined, from clean frames"] == pytest.approx(score_against(original, clip))
    assert scores["bilinear, from clean frames"] == pytest.approx(score_against(original, upsample(clean[:9], FULL)))
    assert scores["bilinear"] == pytest.approx(score_against(original, upsample(seen[:9], FULL)))


def test_the_sweeps_cover_what_was_wanted_and_meet_in_the_default(result):
    found = result["held_out"]
    assert [row["steps"] for row in found["evaluations"]] == list(EVALUATIONS)
    assert [row["ref_step"] for row in found["noise_steps"]] == sorted({*NOISE_STEPS, 600})
    shared = [row for row in found["evaluations"] if row["steps"] == 2]
    assert shared == [row for row in found["noise_steps"] if row["ref_step"] == 600]
    names = ["original", "original through the VAE", "bilinear", "refined"]
    clean = ["bilinear, from clean frames", "refined, from clean frames"]
    assert [row["name"] for row in found["rows"]] == names + clean
    assert (found["count"], found["sweep_count"], found["frames"]) == (2, 1, 9)


def test_the_result_is_json(result):
    assert json.loads(json.dumps(result, allow_nan=False))["verdicts"] == result["verdicts"]


def test_without_a_folder_the_ablation_is_a_note_and_every_clip_is_reported(pipe):
    seen = []
    found = evaluate(pipe, prompts=2, clips=1, callback=lambda *what: seen.append(what))
    assert [row["name"] for row in found["refined"]["rows"]] == ["upsampled draft", "stage 2"]
    assert "--ablation" in found["refined"]["note"] and found["refined"]["note"] in report(found)
    assert [v["holds"] for v in found["verdicts"] if v["claim"].startswith("degradation")] == [None]
    phases = {"drafts": 2, "refined drafts": 1, "rendered clips": 1}
    assert seen == [(phase, i + 1, n, None) for phase, n in phases.items() for i in range(n)]


def test_raising_in_the_callback_stops(pipe):
    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(pipe, prompts=2, clips=1, callback=stop)


def test_bad_input_is_one_line_before_the_first_draft(pipe, ablation, tmp_path):
    def started(*_):
        raise AssertionError("a draft was made")

    with pytest.raises(ValueError, match="prompts is 0"):
        evaluate(pipe, prompts=0, callback=started)
    with pytest.raises(ValueError, match="clips is -1"):
        evaluate(pipe, clips=-1, callback=started)
    with pytest.raises(ValueError, match=r"none\.safetensors"):
        evaluate(pipe, ablation=tmp_path, callback=started)
    dit = stage(STAGE1, SMALL, 0)
    for name in ("none", "pixel", "pixel-latent"):
        save_file(dit.state_dict(), tmp_path / f"{name}.safetensors", make_metadata(dit.config))
    with pytest.raises(ValueError, match="stage1; stage2 is needed"):
        evaluate(pipe, ablation=tmp_path, callback=started)


# Verdicts


def figures():
    """A result in which everything wanted and every trend holds."""
    quality = lambda psnr, edges: {"psnr": psnr, "edges": edges}  # noqa: E731
    right = {"color": 0.95, "shape": 0.85, "motion": 0.9}
    held = {
        "count": 12,
        "sweep_count": 4,
        "frames": 9,
        "default": {"steps": 4, "ref_step": 575},
        "rows": [
            {"name": "original", "edges": 0.8},
            {"name": "bilinear", **quality(26.0, 0.25)},
            {"name": "bilinear, from clean frames", **quality(26.5, 0.25)},
            {"name": "refined, from clean frames", **quality(28.0, 0.375)},
            {"name": "refined", **quality(27.5, 0.375)},
        ],
        "evaluations": [{"steps": n, **quality(p, e)} for n, p, e in ((1, 28, 0.2), (4, 27, 0.3), (8, 27, 0.304))],
        "noise_steps": [
            {"ref_step": n, **quality(p, e)} for n, p, e in ((300, 26, 0.2), (575, 27, 0.3), (850, 20, 0.2))
        ],
    }
    names = ("upsampled draft", "pixel", "pixel + latent", "stage 2")
    rows = [{"name": name, **right, "edges": e, "matching": 1.0} for name, e in zip(names, (1, 2, 3, 2), strict=True)]
    drafts = {"count": 60, "combinations": 60, **right, "all": 0.8, "misses": []}
    return {"drafts": drafts, "refined": {"count": 12, "rows": rows, "note": None}, "held_out": held}


def failing(result):
    return [v["claim"] for v in draw_verdicts(result) if v["holds"] is not True]


def spoil(*path, value):
    result = figures()
    target = result
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    return failing(result)


def test_figures_at_the_limits_hold():
    assert failing(figures()) == [] and len(draw_verdicts(figures())) == 12


@pytest.mark.parametrize(
    ("path", "value", "claim"),
    [
        (("drafts", "color"), 0.949, "color accuracy"),
        (("drafts", "motion"), 0.899, "motion accuracy"),
        (("drafts", "shape"), 0.849, "shape accuracy"),
        (("held_out", "rows", 4, "psnr"), 27.49, "refined PSNR >= bilinear + 1.5 dB"),
        (("held_out", "rows", 4, "edges"), 0.374, "refined edges >= 1.5 times bilinear"),
        (("held_out", "rows", 2, "psnr"), 26.51, "refined PSNR >= bilinear + 1.5 dB, from clean frames"),
        (("held_out", "rows", 2, "edges"), 0.251, "refined edges >= 1.5 times bilinear, from clean frames"),
        (("held_out", "evaluations", 1, "edges"), 0.297, "edge sharpness: 4"),
        (("held_out", "evaluations", 1, "psnr"), 26.4, "PSNR: 4"),
        (("refined", "rows", 1, "edges"), 3.1, "degradation rows"),
        (("refined", "rows", 0, "edges"), 2.0, "degradation rows"),
        (("held_out", "noise_steps", 0, "psnr"), 27.1, "PSNR has its optimum"),
        (("held_out", "noise_steps", 2, "edges"), 0.31, "edge sharpness has its optimum"),
    ],
)
def test_a_figure_beyond_its_limit_breaks_its_own_verdict_alone(path, value, claim):
    broken = spoil(*path, value=value)
    assert len(broken) == 1 and broken[0].startswith(claim)


def test_the_report_is_markdown_tables_with_the_figures_and_the_failures():
    result = figures()
    result["drafts"] |= {"shape": 0.5, "misses": [{"attribute": "shape", "wanted": "star", "seen": "circle"}] * 2}
    text = report(result | {"verdicts": draw_verdicts(result)})
    assert "| bilinear | 26.00 | 0.250 |" in text and "| 575 | 27.00 | 0.300 |" in text
    assert "star seen as circle (2)" in text and "| shape accuracy of the draft >= 85 % | 50 % | **no** |" in text
    blocks = [block.split("\n") for block in text.strip().split("\n\n") if block.startswith("|")]
    assert len(blocks) == 6
    for lines in blocks:
        assert len({line.count("|") for line in lines}) == 1 and set(lines[1]) == set("| -")


def test_the_report_of_a_real_result_names_every_row(result):
    text = report(deepcopy(result))
    for row in [*result["refined"]["rows"], *result["held_out"]["rows"]]:
        assert f"| {row['name']} |" in text
    for verdict in result["verdicts"]:
        assert verdict["claim"] in text and verdict["found"] in text
