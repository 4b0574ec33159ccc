"""How one model of the embedded four is trained: a recipe is a model, a loss, and the numbers of its loop.

    python -m flashvideo_core train tiny --folder runs/tiny

The recipes: recipe_vae.py, recipe_text.py, recipe_stages.py.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..text import find_word_ids
from ..training.loop import LoopConfig, LossFn


@dataclass(frozen=True)
class Recipe:
    """Ready for training.loop.fit; the loss draws its batch from a generator."""

    model: nn.Module
    loss: LossFn
    loop: LoopConfig


def make_numpy_generator(generator: torch.Generator) -> np.random.Generator:
    """A numpy generator whose seed is drawn from torch's: scenes and captions are sampled with numpy."""
    return np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))


def encode_words(texts: list[str], words: dict[str, int], max_words: int) -> Tensor:
    """Word ids of several texts, padded with 0: [B, max_words]."""
    ids = [find_word_ids(text, words, max_words)[0] for text in texts]
    return torch.tensor([found + [0] * (max_words - len(found)) for found in ids])
