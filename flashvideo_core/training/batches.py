"""What a step trains on: a batch drawn from the cache by a generator and a phase of the paper's curriculum.

A batch holds clips of one length: one-frame clips (pictures) or whole ones, of the full size or as patches.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .cache import Entry, read
from .loop import step_of
from .losses import EVERY_ROW

Range = tuple[int, int]
WIDE, NARROW = (-75, 225), (-25, 75)  # the paper's noise steps 600-900 and 650-750, from its step at inference, 675


@dataclass(frozen=True)
class Phase:
    """A part of a run. noise: lowest and highest noise step of stage 2, from the one that the weights are run at."""

    until: float  # share of the run's steps at which it ends
    pictures: float | None  # share of the batches that are one-frame clips; None: as they are in the data
    patches: bool
    noise: Range = WIDE


# Paper, stage 2: 25,000 iterations on picture patches, 30,000 on picture patches and clips 1:2, 5,000 at full size (the
# first 1,000 with the wide range of noise), 700 on the preference set. Our shares of a run are theirs.
PAPER = (
    Phase(25.0 / 60.7, 1.0, True),
    Phase(55.0 / 60.7, 1 / 3, True),
    Phase(56.0 / 60.7, 0.0, False),
    Phase(1.0, 0.0, False, NARROW),
)
CURRICULA = {
    "paper": PAPER,
    "patches": (Phase(1.0, None, True),),
    "full": (Phase(1.0, None, False),),
}


@dataclass(frozen=True)
class Batch:
    """z and z_ref [B, 16, T, h, w] float32 in VAE units (z_ref None for stage 1), txt [B, L, text_dim], noise step.

    Items that another process computes are zeros: their files are not read.
    """

    z: Tensor
    z_ref: Tensor | None
    txt: Tensor
    ref_step: int


def phase_of(curriculum: Sequence[Phase], generator: torch.Generator, steps: int) -> Phase:
    """The phase of the step that the generator belongs to, in a run of `steps`."""
    done = step_of(generator) / steps
    return next((phase for phase in curriculum if done < phase.until), curriculum[-1])


def draw(
    entries: Sequence[Entry],
    phase: Phase,
    count: int,
    patch: tuple[int, int],
    ref_step: int,
    generator: torch.Generator,
    rows: slice = EVERY_ROW,
) -> Batch:
    """A batch of `count` clips; patch (height, width) in latents, ref_step the noise step of the weights.

    rows: the items that this process computes, and so reads; what is drawn does not depend on them.
    """
    one_frame = draw_kind(entries, phase, generator)
    pool = [entry for entry in entries if one_frame or entry.frames > 1]
    if one_frame and any(entry.frames == 1 for entry in entries):
        pool = [entry for entry in entries if entry.frames == 1]
    chosen = [pool[i] for i in torch.randint(len(pool), (count,), generator=generator).tolist()]
    items = []
    for entry in chosen:
        window = draw_window(entry, phase, one_frame, patch, generator)
        files = [entry.z]
        if entry.refs:
            files.append(entry.refs[int(torch.randint(len(entry.refs), (), generator=generator))])
        items.append((files, window))
    low, high = (min(max(ref_step + offset, 0), 999) for offset in phase.noise)
    step = int(torch.randint(low, high + 1, (), generator=generator))
    pairs = [torch.stack([read(file, window) for file in files]) for files, window in items[rows]]
    both = among_zeros(pairs, count, rows).transpose(0, 1)
    texts = among_zeros([read(entry.txt) for entry in chosen[rows]], count, rows)
    return Batch(both[0], both[1] if len(both) > 1 else None, texts, step)


def among_zeros(items: Sequence[Tensor], count: int, rows: slice) -> Tensor:
    """The items as those `rows` of a batch of `count`, the others zeros."""
    out = items[0].new_zeros(count, *items[0].shape)
    out[rows] = torch.stack(items)
    return out


def draw_kind(entries: Sequence[Entry], phase: Phase, generator: torch.Generator) -> bool:
    """Whether the batch is one of one-frame clips. Data without pictures give their clips' first frames instead."""
    share = sum(entry.frames == 1 for entry in entries) / len(entries)
    chance = share if phase.pictures is None or share == 1 else phase.pictures
    return torch.rand((), generator=generator).item() < chance


def draw_window(
    entry: Entry, phase: Phase, one_frame: bool, patch: tuple[int, int], generator: torch.Generator
) -> tuple[slice, ...]:
    """What to read of a clip: [16, frames, rows, columns]. The first latent frame of a causal VAE is a picture's."""
    frames = slice(0, 1 if one_frame else entry.frames)
    if not phase.patches:
        return (slice(None), frames, slice(None), slice(None))
    corner = [
        int(torch.randint(side - p + 1, (), generator=generator)) for side, p in zip(entry.size, patch, strict=True)
    ]
    return (slice(None), frames, *(slice(start, start + p) for start, p in zip(corner, patch, strict=True)))
