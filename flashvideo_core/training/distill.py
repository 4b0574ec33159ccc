"""Distilling stage 2: a student that does in few evaluations, without guidance, what its teacher does in many with it.

    python -m flashvideo_core train distill --prompts prompts.txt --folder runs/student --cfg 4 --rank 16

The student learns the mean velocity between two states of its teacher (teacher.py): first those of neighbouring
evaluations, which holds guidance alone, then of ever longer ways, up to the one from the noised draft to the end point
(progressive distillation, arXiv 2202.00512, here on the paths of the first teacher). Its folder is as of any run on
own clips (finetune.py), with drafts and states in the cache.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoint import open_weights
from ..types import Notify, ProgressCallback
from .cache import CachedClip, hash_json
from .device import choose_training_attention
from .distill_options import DistillOptions
from .distributed import SINGLE_PROCESS, World, assign_items
from .drafts import DraftPrompt, prepare_clip_drafts, prepare_prompt_drafts
from .finetune import fit_stage, load_trainable, notify_of_duplicates, share_preparation
from .loop import LossFn
from .loss_log import check_matplotlib
from .losses import Stage2Model, distill_loss
from .options import list_kept
from .prepare import WeightFiles
from .run_record import RunRecord, check_same_run
from .segments import sample_segments
from .teacher import CachedLesson, prepare_lessons

DraftSource = Path | Sequence[DraftPrompt]
"""What drafts are made of: clips (a folder or a CSV), or prompts."""


def distill(
    source: DraftSource,
    cache: Path,
    folder: Path,
    options: DistillOptions,
    weights: WeightFiles,
    notify: Notify,
    progress: ProgressCallback,
    world: World = SINGLE_PROCESS,
) -> Path:
    """Makes drafts and the teacher's states as far as they are not in the cache, trains, and returns the result's file.

    Phases of progress are "drafts", "teacher" and "student". Raises InputError as `finetune` does.
    """
    check_matplotlib()
    notify_of_duplicates(options.training, notify, world)
    prepare = partial(prepare_distillation, source, cache, options, weights)
    lessons = share_preparation(prepare, notify, progress, world)
    check_same_run(folder, make_distill_record(options, weights, lessons), world)
    student = load_student(options, weights)
    network = partial(student, attention=choose_training_attention(weights.device.type))
    loss_fn = make_distill_loss_fn(network, lessons, options, weights.device, world)
    draft = lessons[0].draft
    shown = CachedClip(draft.z_ref, (draft.z_ref,), draft.txt, draft.frames, draft.size)
    about = {"evaluations": str(options.evaluations), "teacher": json.dumps(options.teacher.to_json())}
    return fit_stage(folder, student, loss_fn, shown, options.training, weights, "student", progress, world, about)


def prepare_distillation(
    source: DraftSource,
    cache: Path,
    options: DistillOptions,
    weights: WeightFiles,
    notify: Notify,
    progress: ProgressCallback,
) -> list[CachedLesson]:
    """All that is learnt from, in the cache; afterwards nothing of it is in memory."""
    config, training = open_weights(weights.files["stage2"]).config, options.training
    if isinstance(source, Path):
        drafts = prepare_clip_drafts(source, cache, config, training, weights, notify, progress)
    else:
        drafts = prepare_prompt_drafts(source, cache, config, options.draft, training, weights, progress)
    return prepare_lessons(drafts, cache, options.teacher, training.variants, weights, progress)


def make_distill_record(options: DistillOptions, weights: WeightFiles, lessons: Sequence[CachedLesson]) -> RunRecord:
    """What the student depends on: options, start weights, the teacher's states, and where it is computed."""
    student = {name: getattr(options, name) for name in ("evaluations", "halvings", "edges")}
    names = [[file.name for file in (*lesson.states, lesson.draft.txt)] for lesson in lessons]
    record = {"options": list_kept(options.training) | student, "weights": weights.hashes["stage2"]}
    record |= {"dtype": str(weights.dtype), "device": weights.device.type, "teacher": options.teacher.to_json()}
    return json.loads(json.dumps(record | {"drafts": len(lessons), "data": hash_json(names)}))


def load_student(options: DistillOptions, weights: WeightFiles) -> torch.nn.Module:
    """Stage 2 as it begins, which by default runs as the student is to be run: few evaluations, without guidance."""
    student = load_trainable(options.training, weights)
    defaults = replace(student.config.defaults, steps=options.evaluations, cfg=1.0)
    student.config = replace(student.config, defaults=defaults)
    return student


def make_distill_loss_fn(
    network: Stage2Model,
    lessons: Sequence[CachedLesson],
    options: DistillOptions,
    device: torch.device,
    world: World = SINGLE_PROCESS,
) -> LossFn:
    """The loss of one micro-batch as a function of its generator."""
    items = assign_items(world, options.training.accumulate, options.training.batch)

    def loss_fn(generator: torch.Generator) -> Tensor:
        way = sample_segments(lessons, options, generator, items)
        start, end, txt = way.start.to(device), way.end.to(device), way.txt.to(device)
        times = (way.times[0].to(device), way.times[1].to(device))
        return distill_loss(network, start, end, times, txt, options.teacher.ref_step, options.edges)

    return loss_fn
