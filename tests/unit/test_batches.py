"""What a step trains on: sampled batches, and the order of the curriculum."""

from dataclasses import replace

import pytest
import torch

from flashvideo_core.training import batches
from flashvideo_core.training.batches import sample_batch
from flashvideo_core.training.cache import CachedClip, read_tensor, write_tensor
from flashvideo_core.training.curriculum import CURRICULA, NARROW_NOISE, PAPER, WIDE_NOISE, CurriculumPhase, find_phase
from flashvideo_core.training.randomness import step_generator


@pytest.fixture
def clips(tmp_path):
    """Two clips and a picture whose latents tell where they come from: value = 1000 * file + place."""
    out = []
    for i, frames in enumerate((3, 3, 1)):
        place = torch.arange(8.0 * 12).view(8, 12).expand(16, frames, 8, 12)
        names = ["z", "r0", "r1"]
        for k, name in enumerate(names):
            value = place + 200 * i + 100 * (k > 0) + 0.25 * (k == 2)
            write_tensor(tmp_path / f"{i}{name}.safetensors", "z", value.half())
        write_tensor(tmp_path / f"{i}.safetensors", "txt", torch.full((4, 2), float(i)))
        refs = tuple(tmp_path / f"{i}{name}.safetensors" for name in names[1:])
        out.append(CachedClip(tmp_path / f"{i}z.safetensors", refs, tmp_path / f"{i}.safetensors", frames, (8, 12)))
    return out


def drawn(clips, phase, seed=0, count=4):
    return sample_batch(clips, phase, count, (4, 6), 300, step_generator(0, seed))


def test_clip_reference_and_text_belong_together(clips):
    for seed in range(20):
        batch = drawn(clips, CurriculumPhase(1.0, 0.0, True), seed)
        assert batch.z.shape == batch.z_ref.shape == (4, 16, 3, 4, 6)
        difference = (batch.z_ref - batch.z).flatten(1)
        assert set(difference.unique().tolist()) <= {100.0, 100.25} and (difference.std(1) == 0).all()
        which = (batch.z[:, 0, 0, 0, 0] / 200).floor()
        assert torch.equal(which, batch.txt[:, 0, 0]) and set(which.tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("rows", [slice(0, 2), slice(2, 4), slice(3, 4)])
def test_a_process_reads_its_rows_only_and_draws_what_all_draw(clips, rows, monkeypatch):
    seen = []
    monkeypatch.setattr(batches, "read_tensor", lambda *what: seen.append(what) or read_tensor(*what))
    for seed in range(5):
        phase, generators = CurriculumPhase(1.0, None, True), [step_generator(0, seed) for _ in range(2)]
        whole = sample_batch(clips, phase, 4, (4, 6), 300, generators[0])
        seen.clear()
        mine = sample_batch(clips, phase, 4, (4, 6), 300, generators[1], rows)
        assert len(seen) == 3 * len(range(4)[rows])  # z, its reference, the text
        for name in ("z", "z_ref", "txt"):
            ours, wanted = getattr(mine, name), getattr(whole, name)
            assert ours.shape == wanted.shape and torch.equal(ours[rows], wanted[rows])
            ours[rows] = 0
            assert not ours.any()
        assert mine.ref_step == whole.ref_step
        assert torch.equal(generators[0].get_state(), generators[1].get_state())


def test_pictures_come_alone_and_as_often_as_the_phase_says(clips):
    kinds = [drawn(clips, CurriculumPhase(1.0, 1 / 3, True), seed).z.shape[2] for seed in range(300)]
    assert set(kinds) == {1, 3} and 0.25 < kinds.count(1) / 300 < 0.42
    batch = drawn(clips, CurriculumPhase(1.0, 1.0, False))
    assert batch.z.shape == (4, 16, 1, 8, 12) and set(batch.txt[:, 0, 0].tolist()) == {2.0}


def test_without_pictures_the_first_frames_serve_and_without_clips_the_pictures(clips):
    batch = drawn(clips[:2], CurriculumPhase(1.0, 1.0, False))
    assert batch.z.shape == (4, 16, 1, 8, 12) and set(batch.txt[:, 0, 0].tolist()) <= {0.0, 1.0}
    assert drawn(clips[2:], CurriculumPhase(1.0, 0.0, False)).z.shape[2] == 1


def test_noise_steps_fill_their_range(clips):
    steps = {drawn(clips[:1], CurriculumPhase(1.0, 0.0, True, (-10, 10)), seed, 1).ref_step for seed in range(300)}
    assert steps == set(range(290, 311))


def test_stage_1_has_no_references(clips):
    assert drawn([replace(clip, refs=()) for clip in clips], CurriculumPhase(1.0, None, False)).z_ref is None


def test_the_papers_curriculum_in_its_order():
    """25,000 + 30,000 + 1,000 + 4,700 of 60,700 iterations; noise steps 600-900, then 650-750."""
    steps = (0, 24_999, 25_001, 55_001, 56_001, 60_699)
    phases = [find_phase(PAPER, step_generator(3, step), 60_700) for step in steps]
    assert [phase.pictures for phase in phases] == [1.0, 1.0, 1 / 3, 0.0, 0.0, 0.0]
    assert [phase.patches for phase in phases] == [True, True, True, False, False, False]
    assert [phase.noise for phase in phases] == [WIDE_NOISE] * 4 + [NARROW_NOISE] * 2
    assert [675 + offset for offset in (*WIDE_NOISE, *NARROW_NOISE)] == [600, 900, 650, 750]
    assert all(phases[-1].until == 1.0 for phases in CURRICULA.values())
