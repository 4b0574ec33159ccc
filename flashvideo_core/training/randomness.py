"""Where the random numbers of training come from, so that a run is a function of its seed and leaves no other trace.

The data and noise of a step come from a generator that is made from (seed, step, micro-batch) alone: no position in a
stream has to be saved, and a resumed run draws what the uninterrupted one would have drawn. Start weights come from
torch's global generator, which torch.nn.init uses; `seed_initialization` lends it for that and puts it back.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SEED_STRIDE = 1_000_003  # steps between the streams of two seeds; a run is shorter
MICRO_STRIDE = 64  # micro-batches between the streams of two steps; a step has fewer


def step_generator(seed: int, step: int, micro: int = 0) -> torch.Generator:
    """The CPU generator of one micro-batch of one step."""
    return torch.Generator().manual_seed((seed * SEED_STRIDE + step) * MICRO_STRIDE + micro)


def step_from_generator(generator: torch.Generator) -> int:
    """The step that a generator of `step_generator` was made for, however much was drawn from it."""
    return generator.initial_seed() // MICRO_STRIDE % SEED_STRIDE


@contextmanager
def seed_initialization(seed: int) -> Iterator[None]:
    """Inside, torch's global CPU generator starts from `seed`, for start weights; afterwards it is as it was before.

    Only the CPU's: networks are initialised there and then moved, so that a seed gives the same weights everywhere.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
