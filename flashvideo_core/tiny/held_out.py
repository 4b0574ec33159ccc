"""What the embedded model is asked: scenes that training never held, and captions that say what is judged."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np

from .captions import caption
from .scene import COLORS, MOTIONS, SHAPES, Scene, is_holdout, sample_scene

JUDGED = ("color", "shape", "motion")
HELD_OUT_SEED = 20250212


@dataclass(frozen=True)
class HeldOutPrompt:
    """A scene that training never held, and a caption that says its colour, shape and motion."""

    scene: Scene
    prompt: str


def sample_held_out(count: int, seed: int) -> list[HeldOutPrompt]:
    """`count` scenes of held-out combinations of colour, shape and motion: all 64 come before one comes again.

    A smaller count gives the first ones of a larger.
    """
    rng = np.random.default_rng([HELD_OUT_SEED, seed])
    combinations = [triple for triple in product(COLORS, SHAPES, MOTIONS) if is_holdout(*triple)]
    prompts = []
    while len(prompts) < count:
        some = rng.permutation(len(combinations))[: count - len(prompts)]
        prompts += [_sample_prompt(rng, dict(zip(JUDGED, combinations[i], strict=True))) for i in some]
    return prompts


def _sample_prompt(rng: np.random.Generator, attributes: Mapping[str, str]) -> HeldOutPrompt:
    """A caption that leaves out what is judged would ask for nothing: those are drawn again."""
    scene = sample_scene(rng, holdout=True, **attributes)
    while True:
        text, mentioned = caption(scene, rng)
        if mentioned.keys() >= set(JUDGED):
            return HeldOutPrompt(scene, text)
