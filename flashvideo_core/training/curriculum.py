"""In which order a run sees pictures, patches and whole clips, and at which noise steps.

Source: arXiv 2502.05179, training of stage 2. Its shares of a run are kept, whatever the run's length.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .randomness import step_from_generator

NoiseRange = tuple[int, int]
WIDE_NOISE, NARROW_NOISE = (-75, 225), (-25, 75)  # the paper's 600-900 and 650-750, from its step at inference, 675


@dataclass(frozen=True)
class CurriculumPhase:
    """A share of a run. noise: lowest and highest noise step of stage 2, from the one that the weights are run at."""

    until: float  # share of the run's steps at which it ends
    pictures: float | None  # share of the batches that are one-frame clips; None: as they are in the data
    patches: bool
    noise: NoiseRange = WIDE_NOISE


# Paper, stage 2: 25,000 iterations on picture patches, 30,000 on picture patches and clips 1:2, 5,000 at full size (the
# first 1,000 with the wide range of noise), 700 on the preference set.
PAPER = (
    CurriculumPhase(25.0 / 60.7, 1.0, True),
    CurriculumPhase(55.0 / 60.7, 1 / 3, True),
    CurriculumPhase(56.0 / 60.7, 0.0, False),
    CurriculumPhase(1.0, 0.0, False, NARROW_NOISE),
)
CURRICULA = {
    "paper": PAPER,
    "patches": (CurriculumPhase(1.0, None, True),),
    "full": (CurriculumPhase(1.0, None, False),),
}


def find_phase(curriculum: Sequence[CurriculumPhase], generator: torch.Generator, steps: int) -> CurriculumPhase:
    """The phase of the step that the generator belongs to, in a run of `steps`."""
    done = step_from_generator(generator) / steps
    return next((phase for phase in curriculum if done < phase.until), curriculum[-1])
