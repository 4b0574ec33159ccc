"""Captions of the training clips, embedded once: a step then only chooses among them."""

from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..config import TextConfig
from ..text import WordEncoder, number_words
from ..training.device import get_device
from .captions import MENTIONED, build_vocabulary, caption
from .clips import get_scene
from .recipe import encode_words
from .rendering import AHEAD, Clips, render_ahead, split_evenly

CAPTIONS = 8  # of a clip
CAPTION_SEED = 20250213
AT_ONCE = 128  # clips whose captions go through the encoder together


def draw_all_captions(
    count: int, odds: Mapping[str, float] = MENTIONED, renderers: Executor | None = None, ahead: int = AHEAD
) -> Iterator[Clips]:
    """The word ids of the first `count` training clips' captions, AT_ONCE clips at a time. odds: of `caption`."""
    draw = partial(draw_captions, words=number_words(build_vocabulary()), length=TextConfig.max_words, odds=odds)
    return render_ahead(draw, split_evenly(range(count), AT_ONCE), renderers, ahead)


@torch.no_grad()
def embed_captions(encoder: WordEncoder, captions: Iterator[Clips]) -> Tensor:
    """[clips, CAPTIONS, slots, width] float32 of what `draw_all_captions` draws, where the encoder is."""
    ids = (drawn["ids"].flatten(0, 1).to(get_device(encoder)) for drawn in captions)
    return torch.cat([encoder(found).unflatten(0, (-1, CAPTIONS)) for found in ids])


def draw_captions(index: int, *, words: Mapping[str, int], length: int, odds: Mapping[str, float]) -> Clips:
    """The word ids [CAPTIONS, length] of a training clip's captions, padded with 0."""
    scene, rng = get_scene(index), np.random.default_rng([CAPTION_SEED, index])
    return {"ids": encode_words([caption(scene, rng, odds)[0] for _ in range(CAPTIONS)], words, length)}
