"""Prompt rules and text encoders: the embedded word-level one, T5-XXL, and embeddings from a file.

An encoder is a function prompt -> [1, L, text_dim] float32. The unconditional embedding is zeros.
"""

import importlib.util
import logging
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from .config import TextConfig
from .errors import InputError

MOTIONS = ("none", "very low motion", "low motion", "medium motion", "high motion", "very high motion")
LONG_PROMPT_WORDS = (60, 130)  # the released examples have 67 to 130 words


def with_motion(prompt: str, motion: str) -> str:
    """The prompt as a stage sees it: "medium motion," + prompt, without a space, as the released script does
    in stage 2; "none" changes nothing. Raises ValueError for an empty prompt or an unknown motion."""
    if not prompt.strip():
        raise InputError("the prompt is empty: describe the clip in words")
    if motion not in MOTIONS:
        raise InputError(f"motion is {motion!r}; choose one of {', '.join(MOTIONS)}")
    return prompt if motion == "none" else f"{motion},{prompt}"


def length_hint(prompt: str) -> str | None:
    """Advice for released weights, which were trained on long prompts; None when the prompt is long enough."""
    words = len(prompt.split())
    if words >= LONG_PROMPT_WORDS[0]:
        return None
    low, high = LONG_PROMPT_WORDS
    return f"the prompt has {words} words; the released weights follow detailed prompts of {low}-{high} words best"


def tokenize(text: str) -> list[str]:
    """The words of a text in lower case: split at all but letters and digits, apostrophes dropped."""
    return re.findall(r"[^\W_]+", re.sub("['\u2019]", "", text.lower()))


class WordEncoder(nn.Module):
    """The embedded model's text encoder: words in, a fixed number of slots out.

    Learned slot tokens read the words through a small bidirectional transformer, so that "a white ball on
    red" and "a red ball on white" differ. Word 0 is padding. The slots are what the video model sees.
    """

    def __init__(self, config: TextConfig, device=None, dtype=None):
        super().__init__()
        kw = {"device": device, "dtype": dtype}
        self.config = config
        self.words = nn.Embedding(config.words + 1, config.width, padding_idx=0, **kw)
        self.positions = nn.Embedding(config.max_words, config.width, **kw)
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


def word_table(words: Iterable[str]) -> dict[str, int]:
    """The id of each word; 0 is padding."""
    return {word: i + 1 for i, word in enumerate(words)}


def word_ids(text: str, vocabulary: dict[str, int], max_words: int) -> tuple[list[int], list[str]]:
    """Ids of the known words, cut to max_words, and the words that are not known."""
    tokens = tokenize(text)
    ids = [vocabulary[word] for word in tokens if word in vocabulary]
    return ids[:max_words], sorted({word for word in tokens if word not in vocabulary})


def word_encoder(model: WordEncoder, words: list[str]) -> Callable[[str], Tensor]:
    """The embedded encoder as a function. A word that it does not know is ignored, with one warning."""
    vocabulary = word_table(words)

    def encode(prompt: str) -> Tensor:
        ids, unknown = word_ids(prompt, vocabulary, model.config.max_words)
        if unknown:
            logging.getLogger(__name__).warning("the embedded text encoder ignores: %s", ", ".join(unknown))
        with torch.no_grad():
            return model(torch.tensor([ids or [0]])).float()

    return encode


def t5_encoder(folder: str | Path, device="cpu", dtype: torch.dtype = torch.bfloat16) -> Callable[[str], Tensor]:
    """T5-XXL as the released code calls it: 226 tokens, truncated and padded, no attention mask, all rows.

    `folder` holds a T5 encoder and its tokenizer in transformers' layout. Raises ValueError when the
    transformers package is not installed or the folder cannot be loaded; nothing is downloaded.
    """
    check_t5(folder)
    try:
        from transformers import AutoTokenizer, T5EncoderModel
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()  # the caller says what is loaded
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = T5EncoderModel.from_pretrained(folder, local_files_only=True, torch_dtype=dtype).eval()
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"{folder} holds no T5 encoder with tokenizer: {str(error).splitlines()[0]}") from None

    def encode(prompt: str) -> Tensor:
        tokens = tokenizer(prompt, truncation=True, max_length=226, padding="max_length", return_tensors="pt")
        model.to(device)
        with torch.no_grad():
            out = model(input_ids=tokens["input_ids"].to(device)).last_hidden_state.float().cpu()
        model.to("cpu")  # 9.5 GB that the stages need
        return out

    return encode


def check_t5(folder: str | Path) -> None:
    """Raises ValueError when a T5 encoder cannot be loaded from there, without loading it."""
    if importlib.util.find_spec("transformers") is None:
        raise InputError("--t5 needs the transformers package: pip install transformers sentencepiece")
    if not (Path(folder) / "config.json").is_file():
        raise InputError(f"{folder} is no folder of a T5 encoder with tokenizer: it has no config.json")
