"""The text encoder's recipe: text alone, as T5 was trained."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import TextConfig
from ..text import WordEncoder, number_words
from ..training.device import get_device
from ..training.loop import LoopConfig
from .captions import build_vocabulary, caption
from .recipe import Recipe, encode_words, make_numpy_generator
from .scene import ATTRIBUTES, sample_scene

TEXT_LOOP = LoopConfig(steps=1500, lr=1e-3, weight_decay=0.01, autocast=False)
CAPTIONS = 128  # in a batch


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


def make_text_recipe() -> Recipe:
    """A new encoder; each slot must tell one attribute of the scene from its caption."""
    model, words = AttributeClassifier(), number_words(build_vocabulary())

    def loss(generator: torch.Generator) -> Tensor:
        rng, device = make_numpy_generator(generator), get_device(model)
        captions = [caption(sample_scene(rng), rng) for _ in range(CAPTIONS)]
        ids = encode_words([text for text, _ in captions], words, model.encoder.config.max_words)
        losses = []
        for logits, (name, values) in zip(model(ids.to(device)), ATTRIBUTES.items(), strict=True):
            target = torch.tensor([mentioned.get(name, len(values)) for _, mentioned in captions], device=device)
            losses.append(F.cross_entropy(logits, target))
        return torch.stack(losses).mean()

    return Recipe(model, loss, TEXT_LOOP)
