"""The cache: what is stored, that its names follow everything it depends on, and that it is made once."""

from dataclasses import replace

import pytest
import torch
from support.own_clips import SIZE, data_set

from flashvideo_core.training import batches
from flashvideo_core.training.batches import CURRICULA, NARROW, PAPER, WIDE, Phase, draw, phase_of
from flashvideo_core.training.cache import Entry, Recipe, build_latents, build_text, plan_latents, read, write
from flashvideo_core.training.data import find_sources, find_spans, read_span
from flashvideo_core.training.degradation import Degradation, degrade, degraded_draft, draft_of
from flashvideo_core.training.loop import step_generator, step_of

RECIPE = Recipe(SIZE, (16, 32), "vae", variants=2)


@pytest.fixture(scope="module")
def spans(tmp_path_factory):
    sources, skipped = find_sources(data_set(tmp_path_factory.mktemp("cache") / "clips"))
    assert not skipped
    return find_spans(sources, size=SIZE, frames=9, fps=8)[0]


class Encoder:
    """Stands where the VAE's hand-off is injected: remembers what it is given; 8x8 means, four times over."""

    def __init__(self):
        self.given = []

    def __call__(self, frames, size):
        self.given.append((frames, size))
        grid = torch.nn.functional.interpolate(frames.transpose(0, 1), size=(size[0] // 8, size[1] // 8), mode="area")
        return grid[::4].transpose(0, 1).repeat(6, 1, 1, 1)[:16]


def test_a_clip_is_stored_with_the_references_of_its_degraded_drafts(tmp_path, spans):
    encode = Encoder()
    plan = plan_latents(tmp_path, spans, RECIPE)
    assert build_latents(plan, RECIPE, encode) == []
    assert [len(files) for files in plan.values()] == [3, 3, 3] and len(encode.given) == 9
    clip = read_span(spans[0], SIZE)
    (z, size), (one, _), (two, _) = encode.given[:3]
    assert torch.equal(z, clip) and size == SIZE
    assert one.shape == two.shape == (3, 9, 16, 32) and not torch.equal(one, two)
    again = degraded_draft(clip, RECIPE.draft_size, RECIPE.degradation, int(plan[spans[0]][1].stem[:15], 16))
    assert torch.equal(one, again)
    assert torch.equal(
        draft_of(clip, RECIPE.draft_size)[:, 3],
        torch.nn.functional.interpolate(clip[:, 3][None], (16, 32), mode="area")[0],
    )
    stored = read(plan[spans[0]][0])
    assert stored.shape == (16, 3, 8, 12) and torch.equal(stored, Encoder()(clip, SIZE).half().float())


def test_what_is_there_is_kept_and_what_is_missing_is_the_same_again(tmp_path, spans):
    plan = plan_latents(tmp_path, spans, RECIPE)
    build_latents(plan, RECIPE, Encoder())
    victim = plan[spans[1]][2]
    before = victim.read_bytes()
    victim.unlink()
    encode, heard = Encoder(), []
    build_latents(plan, RECIPE, encode, lambda *step: heard.append(step))
    assert len(encode.given) == 1 and victim.read_bytes() == before
    assert heard == [(1, 3), (2, 3), (3, 3)]
    assert not list((tmp_path / "latents").glob(".*"))


@pytest.mark.parametrize(
    ("change", "new"),
    [
        ({"vae": "other"}, 3),
        ({"size": (48, 96)}, 3),
        ({"draft_size": (32, 48)}, 2),
        ({"seed": 1}, 2),
        ({"degradation": replace(Degradation(), blur_prob=0.5)}, 2),
        ({"variants": 3}, 1),
        ({}, 0),
    ],
)
def test_a_name_follows_all_that_the_content_depends_on(tmp_path, spans, change, new):
    """Another degradation makes other references and keeps z; another VAE makes all anew."""
    before, after = (
        plan_latents(tmp_path, spans[:1], recipe)[spans[0]] for recipe in (RECIPE, replace(RECIPE, **change))
    )
    assert len(set(after) - set(before)) == new
    if "vae" not in change and "size" not in change:
        assert after[0] == before[0]


def test_names_follow_the_bytes_of_a_file_and_not_its_place(tmp_path, spans):
    source = spans[0].source
    moved = tmp_path / "renamed.mp4"
    moved.write_bytes(source.path.read_bytes())
    same = replace(spans[0], source=replace(source, path=moved))
    assert list(plan_latents(tmp_path, [same], RECIPE).values()) == list(
        plan_latents(tmp_path, spans[:1], RECIPE).values()
    )
    moved.write_bytes(source.path.read_bytes() + b"x")
    assert list(plan_latents(tmp_path, [same], RECIPE).values()) != list(
        plan_latents(tmp_path, spans[:1], RECIPE).values()
    )


def test_what_cannot_be_encoded_is_skipped_with_its_reason(tmp_path, spans):
    huge = build_latents(
        plan_latents(tmp_path, spans[:1], RECIPE), RECIPE, lambda f, s: torch.full((16, 3, 8, 12), 1e6)
    )
    assert [str(skip) for skip in huge] == [f"skipped {spans[0]}: its z holds NaN or infinity, or does not fit float16"]
    assert not list(tmp_path.rglob("*.safetensors"))


def test_text_is_encoded_once_a_caption_and_loads_nothing_when_it_is_there(tmp_path):
    asked = []

    def load():
        return lambda text: asked.append(text) or torch.full((1, 4, 3), len(text) / 3)

    files = build_text(tmp_path, ["b b", "a", "b b"], "encoder", load)
    assert asked == ["a", "b b"] and torch.equal(read(files["a"]), torch.full((4, 3), 1 / 3))
    assert build_text(tmp_path, ["a", "b b"], "encoder", None) == files
    assert build_text(tmp_path, ["a"], "another encoder", load)["a"] != files["a"]


# Batches


@pytest.fixture
def entries(tmp_path):
    """Two clips and a picture whose latents tell where they come from: value = 1000 * file + place."""
    out = []
    for i, frames in enumerate((3, 3, 1)):
        place = torch.arange(8.0 * 12).view(8, 12).expand(16, frames, 8, 12)
        names = ["z", "r0", "r1"]
        for k, name in enumerate(names):
            write(tmp_path / f"{i}{name}.safetensors", z=(place + 200 * i + 100 * (k > 0) + 0.25 * (k == 2)).half())
        write(tmp_path / f"{i}.safetensors", txt=torch.full((4, 2), float(i)))
        refs = tuple(tmp_path / f"{i}{name}.safetensors" for name in names[1:])
        out.append(Entry(tmp_path / f"{i}z.safetensors", refs, tmp_path / f"{i}.safetensors", frames, (8, 12)))
    return out


def drawn(entries, phase, seed=0, count=4):
    return draw(entries, phase, count, (4, 6), 300, step_generator(0, seed))


def test_clip_reference_and_text_belong_together(entries):
    for seed in range(20):
        batch = drawn(entries, Phase(1.0, 0.0, True), seed)
        assert batch.z.shape == batch.z_ref.shape == (4, 16, 3, 4, 6)
        difference = (batch.z_ref - batch.z).flatten(1)
        assert set(difference.unique().tolist()) <= {100.0, 100.25} and (difference.std(1) == 0).all()
        which = (batch.z[:, 0, 0, 0, 0] / 200).floor()
        assert torch.equal(which, batch.txt[:, 0, 0]) and set(which.tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("rows", [slice(0, 2), slice(2, 4), slice(3, 4)])
def test_a_process_reads_its_rows_only_and_draws_what_all_draw(entries, rows, monkeypatch):
    seen = []
    monkeypatch.setattr(batches, "read", lambda *what: seen.append(what) or read(*what))
    for seed in range(5):
        phase, generators = Phase(1.0, None, True), [step_generator(0, seed) for _ in range(2)]
        whole = draw(entries, phase, 4, (4, 6), 300, generators[0])
        seen.clear()
        mine = draw(entries, phase, 4, (4, 6), 300, generators[1], rows)
        assert len(seen) == 3 * len(range(4)[rows])  # z, its reference, the text
        for name in ("z", "z_ref", "txt"):
            ours, wanted = getattr(mine, name), getattr(whole, name)
            assert ours.shape == wanted.shape and torch.equal(ours[rows], wanted[rows])
            ours[rows] = 0
            assert not ours.any()
        assert mine.ref_step == whole.ref_step
        assert torch.equal(generators[0].get_state(), generators[1].get_state())


def test_pictures_come_alone_and_as_often_as_the_phase_says(entries):
    kinds = [drawn(entries, Phase(1.0, 1 / 3, True), seed).z.shape[2] for seed in range(300)]
    assert set(kinds) == {1, 3} and 0.25 < kinds.count(1) / 300 < 0.42
    batch = drawn(entries, Phase(1.0, 1.0, False))
    assert batch.z.shape == (4, 16, 1, 8, 12) and set(batch.txt[:, 0, 0].tolist()) == {2.0}


def test_without_pictures_the_first_frames_serve_and_without_clips_the_pictures(entries):
    batch = drawn(entries[:2], Phase(1.0, 1.0, False))
    assert batch.z.shape == (4, 16, 1, 8, 12) and set(batch.txt[:, 0, 0].tolist()) <= {0.0, 1.0}
    assert drawn(entries[2:], Phase(1.0, 0.0, False)).z.shape[2] == 1


def test_noise_steps_fill_their_range(entries):
    steps = {drawn(entries[:1], Phase(1.0, 0.0, True, (-10, 10)), seed, 1).ref_step for seed in range(300)}
    assert steps == set(range(290, 311))


def test_stage_1_has_no_references(entries):
    assert drawn([replace(entry, refs=()) for entry in entries], Phase(1.0, None, False)).z_ref is None


def test_the_papers_curriculum_in_its_order():
    """25,000 + 30,000 + 1,000 + 4,700 of 60,700 iterations; noise steps 600-900, then 650-750."""
    phases = [phase_of(PAPER, step_generator(3, step), 60_700) for step in (0, 24_999, 25_001, 55_001, 56_001, 60_699)]
    assert [phase.pictures for phase in phases] == [1.0, 1.0, 1 / 3, 0.0, 0.0, 0.0]
    assert [phase.patches for phase in phases] == [True, True, True, False, False, False]
    assert [phase.noise for phase in phases] == [WIDE] * 4 + [NARROW] * 2
    assert (675 + WIDE[0], 675 + WIDE[1], 675 + NARROW[0], 675 + NARROW[1]) == (600, 900, 650, 750)
    assert all(phases[-1].until == 1.0 for phases in CURRICULA.values())


@pytest.mark.parametrize("seed", [0, 7])
def test_a_generator_knows_its_step(seed):
    for step, micro in ((0, 0), (5, 63), (123_456, 1)):
        generator = step_generator(seed, step, micro)
        torch.randn(100, generator=generator)
        assert step_of(generator) == step


def test_degrading_a_clip_is_degrading_its_draft(spans):
    clip = read_span(spans[0], SIZE)
    wanted = degrade(draft_of(clip, RECIPE.draft_size), RECIPE.degradation, torch.Generator().manual_seed(5))
    assert torch.equal(degraded_draft(clip, RECIPE.draft_size, RECIPE.degradation, 5), wanted)
