"""The whole path by the public functions, on the golden checkpoints at the smallest sizes."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from support.golden import CHECKPOINTS, SAMPLING, error, load_golden

from flashvideo_core.attention import chunked_attention
from flashvideo_core.components import Pipeline, component_files
from flashvideo_core.pipeline import Draft, draft, generate, load_pipeline, refine, run_refine
from flashvideo_core.plans import DraftPlan, RefinePlan
from flashvideo_core.sampling import make_draw_noise, sample_stage1, sample_stage2
from flashvideo_core.vae_passes import crop_to_1080, decode, encode

SMALL = {"frames": 5, "height": 32, "width": 48, "steps": 3}
LARGE = {"size": (64, 96), "steps": 2}


@pytest.fixture(scope="module")
def pipe(stage1, stage2, vae):
    """The released layout, with a text function that remembers what it was given as its embedding."""
    return Pipeline(stage1, stage2, vae, text_of)


def text_of(prompt: str) -> torch.Tensor:
    seed = int.from_bytes(prompt.encode()[-7:], "little")
    return torch.randn(1, 10, 32, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def drawn(pipe):
    return draft(pipe, "a red ball", seed=5, **SMALL)


def test_a_draft_is_the_sampler_and_the_vae(pipe, drawn):
    draw = make_draw_noise(5)
    noise = draw(torch.empty(1, 16, 2, 4, 6))
    z = sample_stage1(pipe.stage1, noise, text_of("a red ball"), steps=3, draw_noise=draw)
    assert torch.equal(drawn.latent, z)
    assert torch.equal(drawn.frames, (pipe.vae.decode(z)[0].permute(1, 2, 3, 0) + 1) / 2)
    assert drawn.frames.shape == (5, 32, 48, 3) and drawn.fps == 8 and drawn.seed == 5


def test_a_refinement_is_the_handoff_the_sampler_and_the_vae(pipe, drawn):
    clip = refine(pipe, drawn, **LARGE)
    z_ref = encode(pipe, drawn.frames, (64, 96))
    txt = text_of("medium motion,a red ball")  # stage 2's default prefix
    z = sample_stage2(pipe.stage2, z_ref, txt, noise=make_draw_noise(5)(z_ref), steps=2)
    assert torch.equal(clip.latent, z)
    assert torch.equal(clip.frames, decode(pipe, z, "decode"))
    assert clip.frames.shape == (5, 64, 96, 3) and clip.draft is drawn
    assert clip.settings.seed == 5 and clip.settings.ref_step == 675


def test_generate_is_a_draft_then_its_refinement(pipe, drawn):
    clip = generate(pipe, "a red ball", seed=5, **SMALL, size=(64, 96), refine_steps=2)
    assert torch.equal(clip.draft.latent, drawn.latent)
    assert torch.equal(clip.latent, refine(pipe, drawn, **LARGE).latent)


def test_seeds(pipe, drawn):
    assert torch.equal(draft(pipe, "a red ball", seed=5, **SMALL).latent, drawn.latent)
    assert not torch.equal(draft(pipe, "a red ball", seed=6, **SMALL).latent, drawn.latent)
    assert torch.equal(draft(pipe, "a red ball", seed=5 + 2**64, **SMALL).latent, drawn.latent)
    same, other = refine(pipe, drawn, **LARGE).latent, refine(pipe, drawn, seed=6, **LARGE).latent
    assert not torch.equal(same, other)


def test_text_reaches_both_stages_and_negative_replaces_the_zeros(pipe, drawn):
    assert not torch.equal(draft(pipe, "a blue ball", seed=5, **SMALL).latent, drawn.latent)
    blurry = draft(pipe, "a red ball", seed=5, negative="blurry", **SMALL)
    assert not torch.equal(blurry.latent, drawn.latent)
    with_it, without = refine(pipe, blurry, **LARGE), refine(pipe, replace(blurry, settings=None), **LARGE)
    assert not torch.equal(with_it.latent, without.latent)


def test_any_clip_is_refined_and_trimmed_to_4n_plus_1(pipe):
    frames = torch.rand(7, 40, 56, 3, generator=torch.Generator().manual_seed(0))
    long, short = (refine(pipe, Draft("x", frames[:n], fps=24), **LARGE) for n in (7, 5))
    assert long.frames.shape == (5, 64, 96, 3) and long.fps == 24
    assert torch.equal(long.frames, short.frames)


def test_progress_names_every_phase_in_order(pipe):
    steps = []
    generate(pipe, "x", **SMALL, size=(64, 96), refine_steps=2, callback=lambda *step: steps.append(step))
    assert [step[:3] for step in steps] == [
        ("text", 1, 1),
        *(("stage1", i, 3) for i in (1, 2, 3)),
        ("draft_decode", 1, 1),
        ("text", 1, 1),
        ("handoff", 1, 1),
        *(("stage2", i, 2) for i in (1, 2)),
        ("decode", 1, 1),
    ]
    previews = [preview() for phase, _, _, preview in steps if phase in ("stage1", "stage2")]
    assert [tuple(z.shape) for z in previews] == [(1, 16, 2, 4, 6)] * 3 + [(1, 16, 2, 8, 12)] * 2


@pytest.mark.parametrize("phase", ["stage1", "draft_decode", "handoff", "stage2", "decode"])
def test_raising_in_the_callback_stops_at_once(pipe, phase):
    seen = []

    def stop(name, step, total, preview):
        seen.append(name)
        if name == phase:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(pipe, "x", **SMALL, size=(64, 96), refine_steps=2, callback=stop)
    assert seen.count(phase) == 1 and seen[-1] == phase


def test_the_plan_of_an_earlier_run_is_repeated(pipe, drawn):
    """Where memory decides, another moment could decide otherwise; draft and clip keep what was chosen."""
    assert drawn.plan == DraftPlan(decode=None, branches=2)
    plan = RefinePlan(encode=(6, 8), decode=(6, 8), branches=1)
    whole = refine(pipe, drawn, **LARGE)
    clip = run_refine(pipe, drawn, whole.settings, plan=plan)
    assert clip.plan == plan
    assert torch.equal(clip.frames, run_refine(pipe, drawn, whole.settings, plan=clip.plan).frames)
    assert not torch.equal(clip.frames, whole.frames)
    assert clip.frames.shape == (5, 64, 96, 3)


def test_guidance_takes_two_passes_where_one_batch_does_not_fit(pipe, drawn, monkeypatch):
    """With 300 kB free as with all the memory there is; an earlier run's way is kept."""
    batches = []
    hook = pipe.stage2.register_forward_pre_hook(lambda _, args: batches.append(len(args[0])))
    wanted = refine(pipe, drawn, **LARGE)
    monkeypatch.setattr("flashvideo_core.phases.plan_refine", lambda *args: RefinePlan())
    monkeypatch.setattr("flashvideo_core.planning.free_memory", lambda device: 300_000)
    clip = refine(pipe, drawn, **LARGE)
    run_refine(pipe, drawn, wanted.settings, plan=wanted.plan)
    hook.remove()
    assert batches == [2, 2, 1, 1, 1, 1, 2, 2]
    assert (wanted.plan.branches, clip.plan.branches) == (2, 1)
    assert error(clip.latent, wanted.latent) < SAMPLING


def test_the_attention_of_the_pipeline_is_used(pipe, drawn):
    calls = []
    watched = replace(pipe, attention=lambda q, k, v: calls.append(q.shape[2]) or chunked_attention(q, k, v))
    clip = refine(watched, drawn, **LARGE)
    assert len(calls) == 2 * pipe.stage2.config.layers
    assert error(clip.latent, refine(pipe, drawn, **LARGE).latent) < SAMPLING


def test_tiled_passes_report_their_tiles(pipe, drawn):
    steps = []
    decode(pipe, torch.zeros(1, 16, 1, 8, 12), "decode", lambda *step: steps.append(step), (6, 8))
    assert steps == [("decode", i, 4, None) for i in (1, 2, 3, 4)]


def test_defaults_are_those_beside_the_weights(pipe, drawn):
    assert (drawn.settings.cfg, drawn.settings.guidance) == (8.0, "released")
    assert refine(pipe, drawn, **LARGE).settings.shift == 2.5


def test_the_16_to_9_preset_is_cropped_to_1080():
    frames = torch.arange(1088).float().view(1, 1088, 1, 1).expand(1, 1088, 1920, 1)
    assert crop_to_1080(frames)[0, [0, -1], 0, 0].tolist() == [4, 1083]
    assert crop_to_1080(frames[:, :1072]).shape[1] == 1072


def test_bad_numbers_are_found_before_the_text_is_read(pipe, drawn):
    bad = replace(pipe, text=None)
    for settings, rule in (({"frames": 6}, "4n"), ({"steps": 0}, "steps is 0"), ({"width": 5}, "width is 5")):
        with pytest.raises(ValueError, match=rule):
            draft(bad, "x", **(SMALL | settings))
    with pytest.raises(ValueError, match="noise step is 1000"):
        refine(bad, drawn, ref_step=1000)


def test_every_number_is_checked_before_the_draft(pipe):
    seen = []
    with pytest.raises(ValueError, match="noise step is 1000"):
        generate(pipe, "x", **SMALL, ref_step=1000, callback=lambda *step: seen.append(step))
    assert seen == []


def test_what_is_missing_is_named(pipe, drawn):
    with pytest.raises(ValueError, match="stage2 is not loaded: give its weights with --stage2"):
        refine(replace(pipe, stage2=None), drawn)
    with pytest.raises(ValueError, match="no text encoder is loaded: give --t5 or --embeddings"):
        draft(replace(pipe, text=None), "x", **SMALL)
    with pytest.raises(ValueError, match="the prompt is empty"):
        draft(pipe, " ", **SMALL)
    with pytest.raises(ValueError, match="the text has width 8; stage 1 needs 32"):
        draft(replace(pipe, text=lambda prompt: torch.zeros(1, 10, 8)), "x", **SMALL)


def test_embeddings_replace_the_encoder(tmp_path):
    txt = {f"stage{i}": load_golden(f"stage{i}_sampler")["context_cond"] for i in (1, 2)}
    save_file(txt, tmp_path / "e.safetensors")
    names = {"stage1": "stage1.pt", "stage2": "stage2.pt", "vae": "3d-vae.pt"}
    files = {component: CHECKPOINTS / name for component, name in names.items()}
    loaded = load_pipeline(**files, text=tmp_path / "e.safetensors", device="cpu")
    assert loaded.text is None and loaded.dtype == torch.float32
    d = draft(loaded, "any words", **SMALL)
    known = draft(replace(loaded, text=lambda prompt: txt["stage1"], embeddings={}), "other words", **SMALL)
    assert torch.equal(d.latent, known.latent)


def test_components_are_the_embedded_ones_only_when_none_is_named():
    assert set(component_files()) == {"stage1", "stage2", "vae", "text"}
    assert component_files(vae="a.pt").keys() == {"vae"}
    assert component_files(text=text_of) == {}
