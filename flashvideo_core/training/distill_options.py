"""The numbers of a distillation, complete and checked before anything is read or built."""

import math
from dataclasses import dataclass

import torch

from ..config import TransformerConfig
from ..errors import InputError
from ..settings import DraftSettings, RefineSettings
from .options import TrainingOptions, resolve_options
from .randomness import step_from_generator


@dataclass(frozen=True)
class DistillOptions:
    """training: as of any run on stage 2; its curriculum decides between patches and whole frames alone, its variants
    count the noises that the teacher begins a draft with. draft None: the drafts are clips.
    """

    training: TrainingOptions
    teacher: RefineSettings
    draft: DraftSettings | None
    evaluations: int = 1  # of the student
    halvings: bool = True  # whether it learns the teacher's own evaluations first, then half as many, and so on
    edges: float = 0.0  # weight of the error in edge strength, losses.distill_loss

    def list_rounds(self) -> list[int]:
        """The evaluations of the student, a round of the run after the other."""
        rounds = [self.evaluations]
        while self.halvings and rounds[0] < self.teacher.steps:
            rounds.insert(0, 2 * rounds[0] if self.teacher.steps % (2 * rounds[0]) == 0 else self.teacher.steps)
        return rounds


def resolve_distill_options(
    config: TransformerConfig,
    draft_config: TransformerConfig | None,
    *,
    cfg: float | None = None,
    teacher_steps: int | None = None,
    evaluations: int = 1,
    halvings: bool = True,
    edges: float = 0.0,
    **given: object,
) -> DistillOptions:
    """Options for the weights of stage 2; None takes the default beside them. draft_config is stage 1's, None for
    clips. `given` are fields of TrainingOptions. Raises InputError that names the value and the rule.
    """
    frames = (draft_config or config).defaults.frames
    defaults = {"variants": 1, "curriculum": "full", "text_drop": 0.0, "frames": frames}
    training = resolve_options(config, **(defaults | {name: v for name, v in given.items() if v is not None}))
    teacher = RefineSettings.from_defaults(config.defaults, size=training.size, steps=teacher_steps, cfg=cfg)
    draft = draft_config and DraftSettings.from_defaults(
        draft_config.defaults, size=given.get("draft_size"), frames=training.frames
    )
    options = DistillOptions(training, teacher, draft, evaluations, halvings, edges)
    check_distill_options(options)
    return options


def check_distill_options(options: DistillOptions) -> None:
    """Raises InputError for a number out of its range."""
    steps, evaluations = options.teacher.steps, options.evaluations
    if not 1 <= evaluations <= steps or steps % evaluations:
        raise InputError(f"evaluations is {evaluations}; it must divide the {steps} of the teacher")
    if not (math.isfinite(options.edges) and options.edges >= 0):
        raise InputError(f"edges is {options.edges:g}; it must be 0 or a positive number")


def find_evaluations(options: DistillOptions, generator: torch.Generator) -> int:
    """The student's evaluations in the round that the generator's step belongs to.

    The rounds share the first half of a run; the last one, which the student is for, also has the second.
    """
    rounds = options.list_rounds()
    done = 2 * step_from_generator(generator) / options.training.steps
    return rounds[min(int(done * len(rounds)), len(rounds) - 1)]
