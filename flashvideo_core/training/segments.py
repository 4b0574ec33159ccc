"""What a step of a distillation learns from: segments of the teacher's ways, sampled from the cache by a generator."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..schedule import stage2_times
from ..sizes import latent_size
from .batches import Crop
from .cache import read_tensor
from .curriculum import CURRICULA, find_phase
from .distill_options import DistillOptions, find_evaluations
from .teacher import CachedLesson


@dataclass(frozen=True)
class Segments:
    """Ways between two states of the teacher: start and end [B, 16, T, h, w] scaled, at times [B] each, and txt
    [B, L, text_dim]. Items that another process computes are left out."""

    start: Tensor
    end: Tensor
    times: tuple[Tensor, Tensor]
    txt: Tensor


@dataclass(frozen=True)
class DrawnSegment:
    """A segment before it is read: the file of its states, the first one's number, the crop, and the text's file."""

    states: Path
    first: int
    crop: Crop
    txt: Path


def sample_segments(
    lessons: Sequence[CachedLesson], options: DistillOptions, generator: torch.Generator, items: slice
) -> Segments:
    """The segments of one micro-batch, as long as the round of the generator's step has them.

    What is drawn does not depend on items; only theirs are read.
    """
    training, teacher = options.training, options.teacher
    patches = find_phase(CURRICULA[training.curriculum], generator, training.steps).patches
    stride = teacher.steps // find_evaluations(options, generator)
    drawn = [draw_segment(lessons, options, stride, patches, generator) for _ in range(training.batch)][items]
    states = torch.stack([torch.stack([read_state(i, d) for i in (d.first, d.first + stride)]) for d in drawn])
    first, times = torch.tensor([d.first for d in drawn]), stage2_times(teacher.steps, teacher.shift)
    txt = torch.stack([read_tensor(d.txt) for d in drawn])
    return Segments(states[:, 0], states[:, 1], (times[first], times[first + stride]), txt)


def draw_segment(
    lessons: Sequence[CachedLesson], options: DistillOptions, stride: int, patches: bool, generator: torch.Generator
) -> DrawnSegment:
    """Any lesson, noise and segment of `stride` evaluations, whole or as a patch."""

    def draw(count: int) -> int:
        return int(torch.randint(count, (), generator=generator))

    lesson = lessons[draw(len(lessons))]
    states, first = lesson.states[draw(len(lesson.states))], stride * draw(options.teacher.steps // stride)
    crop = (slice(None), slice(None), slice(None), slice(None))
    if patches:
        patch = latent_size(1, *options.training.patch)[1:]
        # even, so that the student's patches of 2x2 are those that the teacher had
        corner = [2 * draw((side - p) // 2 + 1) for side, p in zip(lesson.draft.size, patch, strict=True)]
        crop = (*crop[:2], *(slice(start, start + p) for start, p in zip(corner, patch, strict=True)))
    return DrawnSegment(states, first, crop, lesson.draft.txt)


def read_state(number: int, drawn: DrawnSegment) -> Tensor:
    """The crop [16, T, h, w] of one of the teacher's states."""
    return read_tensor(drawn.states, (slice(number, number + 1), *drawn.crop))[0]
