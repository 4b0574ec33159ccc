"""Text: the embedded word-level encoder as a CLIP, T5-XXL through ComfyUI's own, and plain-text encoding."""

import logging
from pathlib import Path
from typing import Any

import comfy.model_patcher
import comfy.sd
import torch
from torch import Tensor, nn

from ...flashvideo_core.checkpoint import load_text, make_metadata
from ...flashvideo_core.components import is_word_encoder
from ...flashvideo_core.config import STAGE1, TextConfig, TransformerConfig
from ...flashvideo_core.errors import InputError
from ...flashvideo_core.text import WordEncoder, find_word_ids, number_words, tokenize
from ...flashvideo_core.weights.wrappers import pack_metadata
from .t5 import load_t5_clip
from .types import Conditioning

T5_TOKENS = 226
WORDS, T5 = "flashvideo_words", "t5xxl"  # how the tokens of the two encoders that are read are named

TokenRow = list[tuple[int, float]]
"""ComfyUI's tokens of one text: (id, weight)."""


class WordTokenizer:
    """Words of the embedded vocabulary as ComfyUI tokens of weight 1."""

    def __init__(self, words: list[str], config: TextConfig):
        self.vocabulary, self.config = number_words(words), config

    def tokenize_with_weights(
        self, text: str, return_word_ids: bool = False, *, warn: bool = True, **kwargs
    ) -> dict[str, list[TokenRow]]:
        """warn: says in the log which words are ignored, as other nodes' prompts have no other place for it."""
        ids, unknown = find_word_ids(text, self.vocabulary, self.config.max_words)
        if unknown and warn:
            logging.warning("FlashVideo: the embedded text encoder ignores: %s", ", ".join(unknown))
        return {WORDS: [[(i, 1.0) for i in ids or [0]]]}

    def state_dict(self) -> dict[str, Tensor]:
        """What ComfyUI's save nodes write beside the encoder's weights, as they do the vocabulary of T5."""
        packed = pack_metadata(make_metadata(self.config) | {"words": " ".join(self.vocabulary)})
        return {f"encoder.{name}": tensor for name, tensor in packed.items()}


class WordModel(nn.Module):
    """The embedded encoder with the methods that comfy.sd.CLIP calls."""

    dtypes = {torch.float32}

    def __init__(self, encoder: WordEncoder):
        super().__init__()
        self.encoder = encoder

    def reset_clip_options(self) -> None: ...

    def set_clip_options(self, options: dict[str, Any]) -> None: ...

    def encode_token_weights(self, tokens: dict[str, list[TokenRow]]) -> tuple[Tensor, None]:
        ids = [[i for i, _ in row] for row in tokens[WORDS]]
        return self.encoder(torch.tensor(ids)).float(), None


def load_word_clip(path: str | Path) -> comfy.sd.CLIP:
    """The embedded encoder as a CLIP. It is tiny and runs on the CPU."""
    encoder, words = load_text(path)
    clip = comfy.sd.CLIP(no_init=True)
    clip.cond_stage_model = WordModel(encoder)
    clip.tokenizer = WordTokenizer(words, encoder.config)
    cpu = torch.device("cpu")
    clip.patcher = comfy.model_patcher.ModelPatcher(clip.cond_stage_model, load_device=cpu, offload_device=cpu)
    clip.patcher.is_clip = True
    clip.layer_idx, clip.use_clip_schedule, clip.apply_hooks_to_conds = None, False, None
    clip.tokenizer_options = {}
    return clip


def load_text_clip(path: str | Path) -> comfy.sd.CLIP:
    """A word-level encoder of ours, or T5-XXL as ComfyUI's CLIPLoader of type cogvideox loads it.

    Raises InputError for a file that holds no tensors, and for another text encoder.
    """
    path = Path(path)
    if is_word_encoder(path):
        return load_word_clip(path)
    return load_t5_clip(path)


def encode_text(clip: comfy.sd.CLIP, text: str) -> Conditioning:
    """CONDITIONING of a plain text: no weight syntax, cut to 226 tokens whose last one ends the sentence.

    Raises InputError for a CLIP that is neither the embedded encoder nor T5-XXL alone.
    """
    tokens = clip.tokenize(text, disable_weights=True, warn=False)
    if list(tokens) not in ([WORDS], [T5]):
        name = f"{type(clip.cond_stage_model).__name__.rstrip('_')} ({', '.join(tokens)})"
        raise InputError(f"this CLIP is {name}; FlashVideo reads T5-XXL alone: use FlashVideo Load Text Encoder")
    return clip.encode_from_tokens_scheduled({key: [truncate(row) for row in rows] for key, rows in tokens.items()})


def describe_unread(clip: comfy.sd.CLIP, text: str) -> str | None:
    """What of a text the encoder does not read: words that it does not know, an end that is too long; None: nothing."""
    unknown: set[str] = set()
    if is_word_clip(clip):
        words, limit, unit = tokenize(text), clip.tokenizer.config.max_words, "words"
        unknown = {word for word in words if word not in clip.tokenizer.vocabulary}
        length = sum(word not in unknown for word in words)
    else:
        tokens, limit, unit = clip.tokenize(text, disable_weights=True), T5_TOKENS, "tokens"
        length = max(len(row) for rows in tokens.values() for row in rows)
    ignored = f"the tiny model's text encoder ignores: {', '.join(sorted(unknown))}" if unknown else None
    dropped = (
        f"the text encoder reads {limit} {unit}: the last {length - limit} are dropped" if length > limit else None
    )
    return "; ".join(filter(None, (ignored, dropped))) or None


def truncate(row: TokenRow) -> TokenRow:
    """At most T5_TOKENS tokens, the last of which stays the last."""
    return row if len(row) <= T5_TOKENS else row[: T5_TOKENS - 1] + row[-1:]


def is_word_clip(clip: comfy.sd.CLIP) -> bool:
    """Whether this is the embedded encoder."""
    return isinstance(clip.cond_stage_model, WordModel)


def check_text_width(txt: Tensor, config: TransformerConfig) -> None:
    """Raises InputError for text embeddings [B, L, width] of another encoder than the stage was trained with."""
    if txt.shape[-1] != config.text_dim:
        wanted = "T5-XXL" if config.text_dim == STAGE1.text_dim else "the text encoder that came with these weights"
        raise InputError(
            f"the prompt has embeddings of width {txt.shape[-1]}, stage {config.stage} needs {config.text_dim}: "
            f"it was encoded by another model than {wanted}"
        )
