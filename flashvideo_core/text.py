"""Prompt rules, and the embedded word-level text encoder (T5-XXL: t5.py).

An encoder is a function prompt -> [1, L, text_dim] float32. The unconditional embedding is zeros.
"""

import logging
import re
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from .config import TextConfig
from .errors import InputError, check_text
from .types import TextEncoder

MOTIONS = ("none", "very low motion", "low motion", "medium motion", "high motion", "very high motion")
LONG_PROMPT_WORDS = (60, 130)  # the released examples have 67 to 130 words


def add_motion(prompt: str, motion: str) -> str:
    """The prompt as a stage sees it: "medium motion," + prompt, without a space, as the released script does
    in stage 2; "none" changes nothing. Raises InputError for an empty prompt or an unknown motion."""
    if not prompt.strip():
        raise InputError("the prompt is empty: describe the clip in words")
    check_text("the prompt", prompt)
    if motion not in MOTIONS:
        raise InputError(f"motion is {motion!r}; choose one of {', '.join(MOTIONS)}")
    return prompt if motion == "none" else f"{motion},{prompt}"


def suggest_longer(prompt: str) -> str | None:
    """Advice for released weights, which were trained on long prompts; None when the prompt is long enough."""
    words = len(prompt.split())
    if words >= LONG_PROMPT_WORDS[0]:
        return None
    low, high = LONG_PROMPT_WORDS
    return f"the prompt has {words} words; the released weights follow detailed prompts of {low}-{high} words best"


def tokenize(text: str) -> list[str]:
    """The words of a text in lower case: split at all but letters and digits, apostrophes dropped."""
    return re.findall(r"[^\W_]+", re.sub("['\u2019]", "", text.lower()))


class Embedding(nn.Embedding):
    """nn.Embedding, which on the meta device draws nothing: there torch imports its compiler to do so, two seconds."""

    def reset_parameters(self) -> None:
        if not self.weight.is_meta:
            super().reset_parameters()


class WordEncoder(nn.Module):
    """The embedded model's text encoder: words in, a fixed number of slots out.

    Learned slot tokens read the words through a small bidirectional transformer, so that "a white ball on
    red" and "a red ball on white" differ. Word 0 is padding. The slots are what the video model sees.
    """

    def __init__(self, config: TextConfig, device: torch.device | None = None, dtype: torch.dtype | None = None):
        super().__init__()
        kw = {"device": device, "dtype": dtype}
        self.config = config
        self.words = Embedding(config.words + 1, config.width, padding_idx=0, **kw)
        self.positions = Embedding(config.max_words, config.width, **kw)
        self.slots = nn.Parameter(torch.zeros(config.slots, config.width, **kw))
        layer = nn.TransformerEncoderLayer(
            config.width, config.width // 32, 4 * config.width, 0.0, batch_first=True, norm_first=True, **kw
        )
        self.layers = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(config.width, **kw)

    def forward(self, ids: Tensor) -> Tensor:
        """ids [B, W] of words, 0 = padding, W <= max_words -> slots [B, slots, width]."""
        words = self.words(ids) + self.positions.weight[: ids.shape[1]]
        slots = self.slots.expand(ids.shape[0], -1, -1)
        padding = torch.cat([torch.zeros(slots.shape[:2], dtype=torch.bool, device=ids.device), ids == 0], dim=1)
        out = self.layers(torch.cat([slots, words], dim=1), src_key_padding_mask=padding)
        return self.norm(out[:, : slots.shape[1]])


def number_words(words: Iterable[str]) -> dict[str, int]:
    """The id of each word; 0 is padding."""
    return {word: i + 1 for i, word in enumerate(words)}


def note_dropped_end(prompt: str, limit: str) -> None:
    """Warns that a prompt is longer than an encoder reads; the same words for both stages, so that it is said once."""
    logging.getLogger(__name__).warning(
        "the text encoder reads %s: the prompt's end is dropped: ...%s", limit, prompt[-40:]
    )


def find_word_ids(text: str, vocabulary: dict[str, int], max_words: int) -> tuple[list[int], list[str]]:
    """Ids of the known words, cut to max_words, and the words that are not known."""
    tokens = tokenize(text)
    ids = [vocabulary[word] for word in tokens if word in vocabulary]
    if len(ids) > max_words:
        note_dropped_end(text, f"{max_words} words")
    return ids[:max_words], sorted({word for word in tokens if word not in vocabulary})


def make_word_encoder(model: WordEncoder, words: list[str]) -> TextEncoder:
    """The embedded encoder as a function. A word that it does not know is ignored, with one warning."""
    vocabulary = number_words(words)

    def encode(prompt: str) -> Tensor:
        ids, unknown = find_word_ids(prompt, vocabulary, model.config.max_words)
        if unknown:
            logging.getLogger(__name__).warning("the embedded text encoder ignores: %s", ", ".join(unknown))
        with torch.no_grad():
            return model(torch.tensor([ids or [0]])).float()

    return encode
