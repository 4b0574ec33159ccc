"""The text encoder's recipe: text alone, as T5 was trained."""

from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import TextConfig
from ..text import WordEncoder, number_words
from ..training.distributed import SINGLE_PROCESS, World
from ..training.loop import LoopConfig
from .captions import build_vocabulary, caption
from .recipe import Recipe, encode_words
from .rendering import AHEAD, Clips, render_ahead, split_evenly
from .scene import ATTRIBUTES, sample_scene

TEXT_LOOP = LoopConfig(steps=3000, lr=1e-3, weight_decay=0.01, autocast=False)
BATCH = 256
EXAMPLES, AT_ONCE = 131072, 256  # captions that are drawn, and how many at a time
TEXT_SEED = 20250214


class AttributeClassifier(nn.Module):
    """A text encoder and, on each of its slots, a head that names one attribute of the scene, or that it is not said.

    Only the encoder is kept.
    """

    def __init__(self):
        super().__init__()
        self.encoder = WordEncoder(TextConfig(words=len(build_vocabulary()), slots=len(ATTRIBUTES)))
        nn.init.normal_(self.encoder.slots, std=0.5)
        width = self.encoder.config.width
        self.heads = nn.ModuleList(nn.Linear(width, len(values) + 1) for values in ATTRIBUTES.values())

    def forward(self, ids: Tensor) -> list[Tensor]:
        """Word ids [B, W] -> for each attribute the logits [B, values + 1]."""
        slots = self.encoder(ids)
        return [head(slots[:, i]) for i, head in enumerate(self.heads)]


def draw_all_examples(renderers: Executor | None = None, count: int = EXAMPLES, ahead: int = AHEAD) -> Iterator[Clips]:
    """Captions, each of a scene of its own, and what they mention, as `draw_examples` has them."""
    draw = partial(draw_examples, words=number_words(build_vocabulary()), length=TextConfig.max_words)
    return render_ahead(draw, split_evenly(range(count // AT_ONCE), 16), renderers, ahead)


def make_text_recipe(examples: Iterator[Clips], world: World = SINGLE_PROCESS) -> Recipe:
    """A new encoder; each slot must tell one attribute of the scene from its caption."""
    model, drawn = AttributeClassifier(), list(examples)
    tables = [torch.cat([example[name].flatten(0, 1) for example in drawn]) for name in ("ids", "targets")]
    ids, targets = (table.to(world.device) for table in tables)

    def loss(generator: torch.Generator) -> Tensor:
        chosen = torch.randint(len(ids), (BATCH,), generator=generator).to(ids.device)
        logits, wanted = model(ids[chosen]), targets[chosen]
        return torch.stack([F.cross_entropy(*pair) for pair in zip(logits, wanted.unbind(1), strict=True)]).mean()

    return Recipe(model, loss, TEXT_LOOP)


def draw_examples(index: int, *, words: Mapping[str, int], length: int) -> Clips:
    """Word ids [AT_ONCE, length] of captions of as many scenes, and for each attribute the value that each mentions,
    [AT_ONCE, attributes]; one value more stands for none."""
    rng = np.random.default_rng([TEXT_SEED, index])
    captions = [caption(sample_scene(rng), rng) for _ in range(AT_ONCE)]
    ids = encode_words([text for text, _ in captions], words, length)
    targets = [[said.get(name, len(values)) for name, values in ATTRIBUTES.items()] for _, said in captions]
    return {"ids": ids, "targets": torch.tensor(targets)}
